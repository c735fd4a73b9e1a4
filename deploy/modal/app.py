"""Workers on Modal: a CPU function that is a worker, and a GPU class with vLLM in the same container.

    IMAGE_REGISTRY=… TEMPORAL_WORKER_BUILD_ID=… modal deploy deploy/modal/app.py

One input is the life of one worker. The dispatcher, a function of the same app, starts as many inputs as
the demand asks for. Each worker ends when it is idle, or before its deadline.
"""

import os
import subprocess
import time

import modal
from outlast_workers.serverless import modal_dispatch, modal_lease
from outlast_workers.serverless.modal_dispatch import DEPLOYMENT, Fleet, TaskQueue

# Set where the app is deployed. In the containers, the image sets it.
BUILD_ID = os.environ["TEMPORAL_WORKER_BUILD_ID"]
REGISTRY = os.environ.get("IMAGE_REGISTRY", "registry.example.com")

AGENTS = TaskQueue("agents", slots=100)
TOOLS = TaskQueue("tools-serverless", slots=10)
GENERATE = TaskQueue("generate-serverless", slots=16)

CPU = Fleet("worker", (AGENTS, TOOLS), max_workers=20)
GPU = Fleet("GpuWorker", (GENERATE,), max_workers=4, method="serve")

MODEL = "Qwen/Qwen3-8B"
VLLM = (
    *("vllm", "serve", MODEL, "--host", "127.0.0.1", "--port", "8000"),
    *("--structured-outputs-config.backend", "guidance"),
    *("--structured-outputs-config.disable_any_whitespace", "true"),
    "--enable-prompt-tokens-details",
    # What fits on an L4 together with the weights.
    *("--max-model-len", "16384", "--max-num-seqs", str(GENERATE.slots)),
)
OUTLAST = ("/opt/outlast/bin/python", "-m", "outlast_workers")
WORKER = (*OUTLAST, "run")

LIFE_S = 3600.0
"""Maximum life of a worker: long enough that cold starts do not matter."""

TIMEOUT_S = 3630
"""Modal's own limit. A worker ends before it."""

CPU_STARTUP_S = 120
GPU_STARTUP_S = 900
"""The time for loading the weights from the volume."""

FETCH_S = 3600
"""The time for downloading the weights into the volume, once for each model."""

DISPATCH_S = 50.0
"""How long one run of the dispatcher lasts. Modal starts the next one a minute after it."""

VLLM_EXIT_S = 5.0

WARM_GPUS = 0
"""Containers that keep vLLM loaded while idle. Each costs as much as its GPU."""

SETTINGS = {
    "OUTLAST_DRAIN_S": f"{modal_lease.DRAIN_S:g}",
    "OUTLAST_IDLE_EXIT_S": "30",
    "OUTLAST_LOG_FORMAT": "json",
    # Modal mounts this file and local modules in /root.
    "PYTHONPATH": "/root:/app",
    "TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT,
    "TEMPORAL_WORKER_BUILD_ID": BUILD_ID,
}

CPU_SETTINGS = {
    **SETTINGS,
    "OUTLAST_AGENTS": "outlast_examples.refund_desk",
    "OUTLAST_ROLES": "workflows,tools",
    "OUTLAST_QUEUES__TOOLS": TOOLS.name,
    # The queue for model calls, which this worker does not serve itself.
    "OUTLAST_QUEUES__GENERATE": GENERATE.name,
    "OUTLAST_CONCURRENCY__WORKFLOWS": str(AGENTS.slots),
    "OUTLAST_CONCURRENCY__TOOLS": str(TOOLS.slots),
}

GPU_SETTINGS = {
    **SETTINGS,
    "OUTLAST_ROLES": "generate",
    "OUTLAST_QUEUES__GENERATE": GENERATE.name,
    "OUTLAST_CONCURRENCY__GENERATE": str(GENERATE.slots),
    "OUTLAST_MODEL__URL": "http://127.0.0.1:8000/v1",
    "OUTLAST_MODEL__API": "vllm",
    "OUTLAST_MODEL__ENGINE": "guidance",
    "OUTLAST_MODEL__NAME": MODEL,
    # Workers only read the volume. Compiled kernels stay in the container, because several write them.
    "HF_HUB_CACHE": "/weights/hub",
    "HF_HUB_OFFLINE": "1",
}


def _image(name: str, settings: dict[str, str]) -> modal.Image:
    image = modal.Image.from_registry(f"{REGISTRY}/{name}:{BUILD_ID}").entrypoint([])
    # In the GPU image, Modal runs vLLM's Python, which does not have outlast: it gets these modules.
    modules = (modal_dispatch.__name__, modal_lease.__name__)
    return image.env(settings).workdir("/app").add_local_python_source(*modules)


app = modal.App(modal_dispatch.app_name(BUILD_ID))

# TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY
temporal = modal.Secret.from_name("outlast-temporal", required_keys=["TEMPORAL_ADDRESS"])
weights = modal.Volume.from_name("outlast-weights", create_if_missing=True)
read_only_weights = weights.with_mount_options(read_only=True)

cpu_image = _image("outlast-worker", CPU_SETTINGS)
gpu_image = _image("outlast-worker-vllm", GPU_SETTINGS)


# No retries: Temporal retries what was in flight, and new demand starts a new worker.
@app.function(
    image=cpu_image,
    secrets=[temporal],
    cpu=1.0,
    memory=1024,
    timeout=TIMEOUT_S,
    startup_timeout=CPU_STARTUP_S,
    min_containers=0,
    max_containers=CPU.max_workers,
    scaledown_window=10,
    retries=0,
)
def worker() -> None:
    """Serve workflows and tools until the worker is idle."""
    status = modal_lease.run_worker(WORKER, life_s=LIFE_S)
    if status:
        raise RuntimeError(f"the worker ended with status {status}: see its log")


# No memory snapshots: vLLM is a separate process, and a snapshot does not save its slow start.
@app.cls(
    image=gpu_image,
    secrets=[temporal],
    volumes={"/weights": read_only_weights},
    gpu="L4",
    timeout=TIMEOUT_S,
    startup_timeout=GPU_STARTUP_S,
    min_containers=WARM_GPUS,
    max_containers=GPU.max_workers,
    scaledown_window=120,
    retries=0,
)
class GpuWorker:
    """A worker for model calls, and the vLLM server that only it uses."""

    @modal.enter()
    def load(self) -> None:
        """Start vLLM, and wait until it answers."""
        self.vllm = subprocess.Popen(VLLM, process_group=0)
        deadline = time.monotonic() + GPU_STARTUP_S
        check = (*OUTLAST[:2], "outlast_workers.healthcheck", "8000", "/health")
        while subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode:
            if self.vllm.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"vLLM did not start (status {self.vllm.poll()})")
            time.sleep(1)

    @modal.method()
    def serve(self) -> None:
        """Serve model calls until the worker is idle."""
        if self.vllm.poll() is not None:
            self.load()  # vLLM ended during the last input, and Modal reuses the container
        status = modal_lease.run_worker(WORKER, life_s=LIFE_S, companion=self.vllm)
        if status or self.vllm.poll() is not None:
            raise RuntimeError(f"the worker ended with status {status}, vLLM {self.vllm.poll()}")

    @modal.exit()
    def unload(self) -> None:
        """Stop vLLM. No worker uses it any more."""
        modal_lease.stop(self.vllm, within_s=VLLM_EXIT_S)


@app.function(
    image=gpu_image,
    volumes={"/weights": weights},
    timeout=FETCH_S,
    max_containers=1,
    retries=0,
)
def fetch_weights() -> None:
    """Download the weights into the volume. Run it before the first worker of a model."""
    online = {**os.environ, "HF_HUB_OFFLINE": "0"}
    subprocess.run(("hf", "download", MODEL), env=online, check=True)
    weights.commit()


@app.function(
    image=cpu_image,
    secrets=[temporal],
    schedule=modal.Period(minutes=1),
    cpu=0.25,
    memory=512,
    timeout=90,
    max_containers=1,
    retries=0,
)
def dispatcher() -> None:
    """Start the workers that are missing, every 5 s, by a demand service in the same container."""
    modal_dispatch.dispatch_for(
        (CPU, GPU), (*OUTLAST, "demand"), build_id=BUILD_ID, life_s=DISPATCH_S
    )
