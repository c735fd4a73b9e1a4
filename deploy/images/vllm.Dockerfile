# vLLM and a worker for it in one container, for platforms that give a GPU to one container only:
# `docker build -f deploy/images/vllm.Dockerfile --build-arg BUILD_ID=… .`

FROM vllm/vllm-openai:v0.33.0
USER 0
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements/build.txt requirements/runtime.txt ./
COPY outlast outlast
COPY activities activities
COPY examples examples
COPY workers workers
COPY workflows workflows
# A separate environment, because the dependencies of vLLM and outlast may conflict.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /build \
    && /build/bin/pip install --only-binary :all: --require-hashes --requirement build.txt \
    && /build/bin/python -m hatchling build --target wheel \
    && python3 -m venv /opt/outlast \
    && /opt/outlast/bin/pip install --only-binary :all: --require-hashes --requirement runtime.txt \
    && /opt/outlast/bin/pip install --no-deps --no-index dist/*.whl
# With a home folder: vLLM stores weights and compiled kernels there.
RUN groupadd --gid 10001 outlast \
    && useradd --uid 10001 --gid outlast --create-home outlast
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/home/outlast \
    OUTLAST_ROLES=generate \
    OUTLAST_MODEL__URL=http://127.0.0.1:8000/v1 \
    OUTLAST_MODEL__API=vllm \
    OUTLAST_HEALTH__HOST=0.0.0.0 \
    OUTLAST_HEALTH__PORT=8081 \
    TEMPORAL_DEPLOYMENT_NAME=outlast \
    VLLM_NO_USAGE_STATS=1
EXPOSE 8081
# Large weights take minutes to load. The worker is not ready before.
HEALTHCHECK --interval=10s --timeout=5s --start-period=900s --retries=3 \
    CMD ["/opt/outlast/bin/python", "-m", "outlast_workers.healthcheck"]
ARG BUILD_ID
RUN test -n "$BUILD_ID" || { echo "give --build-arg BUILD_ID=…, the tag of the image" >&2; exit 1; }
ENV TEMPORAL_WORKER_BUILD_ID=$BUILD_ID
LABEL org.opencontainers.image.title="outlast-worker-vllm" \
    org.opencontainers.image.description="outlast worker for model calls, with vLLM" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$BUILD_ID"
USER 10001:10001
# The folder for your agents. vLLM starts in the home folder instead, so that it does not import them.
WORKDIR /app
# The arguments after the image name go to `vllm serve`: a model, and options.
ENTRYPOINT ["/opt/outlast/bin/python", "-m", "outlast_workers.serverless.vllm_container"]
