"""Workers on Modal: a function that is a worker, and one with a GPU and vLLM in the same container.

    IMAGE_REGISTRY=… TEMPORAL_WORKER_BUILD_ID=… modal deploy deploy/modal/app.py

An input is a worker's life: `dispatch.py` spawns as many as the demand asks for, and each ends when it is
idle, or ahead of its deadline.
"""

import os
import subprocess
import time

import dispatch
import lease
import modal

# Set where the app is deployed; in the containers it comes out of the image.
BUILD_ID = os.environ["TEMPORAL_WORKER_BUILD_ID"]
REGISTRY = os.environ.get("IMAGE_REGISTRY", "registry.example.com")

MODEL = "Qwen/Qwen3-8B"
VLLM = (
    *("vllm", "serve", MODEL, "--host", "127.0.0.1", "--port", "8000"),
    *("--structured-outputs-config.backend", "guidance"),
    *("--structured-outputs-config.disable_any_whitespace", "true"),
    "--enable-prompt-tokens-details",
    # What an L4 has left beside the weights.
    *("--max-model-len", "16384", "--max-num-seqs", str(dispatch.GENERATE.slots)),
)
WORKER = ("/opt/outlast/bin/python", "-m", "outlast_workers", "run")

LIFE_S = 3600.0
"""How long a worker lives at most: long enough for a cold start not to matter."""

TIMEOUT_S = 3630
"""Modal's own bound: a worker has left by itself before."""

CPU_STARTUP_S = 120
GPU_STARTUP_S = 900
"""What the weights may take, the first time from the hub, then from the volume."""

VLLM_EXIT_S = 5.0

WARM_GPUS = 0
"""Containers that keep vLLM loaded while nothing is asked: each costs what its GPU costs."""

SETTINGS = {
    "OUTLAST_DRAIN_S": f"{lease.DRAIN_S:g}",
    "OUTLAST_IDLE_EXIT_S": "30",
    "OUTLAST_LOG_FORMAT": "json",
    # Modal puts what is added of this folder into /root.
    "PYTHONPATH": "/root:/app",
    "TEMPORAL_DEPLOYMENT_NAME": dispatch.DEPLOYMENT,
    "TEMPORAL_WORKER_BUILD_ID": BUILD_ID,
}

CPU_SETTINGS = {
    **SETTINGS,
    "OUTLAST_AGENTS": "outlast_examples.refund_desk",
    "OUTLAST_ROLES": "workflows,tools",
    "OUTLAST_QUEUES__TOOLS": dispatch.TOOLS.name,
    # Where it sends model calls, for it serves none itself.
    "OUTLAST_QUEUES__GENERATE": dispatch.GENERATE.name,
    "OUTLAST_CONCURRENCY__WORKFLOWS": str(dispatch.AGENTS.slots),
    "OUTLAST_CONCURRENCY__TOOLS": str(dispatch.TOOLS.slots),
}

GPU_SETTINGS = {
    **SETTINGS,
    "OUTLAST_ROLES": "generate",
    "OUTLAST_QUEUES__GENERATE": dispatch.GENERATE.name,
    "OUTLAST_CONCURRENCY__GENERATE": str(dispatch.GENERATE.slots),
    "OUTLAST_MODEL__URL": "http://127.0.0.1:8000/v1",
    "OUTLAST_MODEL__API": "vllm",
    "OUTLAST_MODEL__ENGINE": "guidance",
    "OUTLAST_MODEL__NAME": MODEL,
}


def _image(name: str, settings: dict[str, str]) -> modal.Image:
    image = modal.Image.from_registry(f"{REGISTRY}/{name}:{BUILD_ID}").entrypoint([])
    return image.env(settings).workdir("/app").add_local_python_source("dispatch", "lease")


app = modal.App(dispatch.app_of(BUILD_ID))

# TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY
temporal = modal.Secret.from_name("outlast-temporal", required_keys=["TEMPORAL_ADDRESS"])
# DEMAND_URL
demand = modal.Secret.from_name("outlast-demand", required_keys=["DEMAND_URL"])
weights = modal.Volume.from_name("outlast-weights", create_if_missing=True)

cpu_image = _image("outlast-worker", CPU_SETTINGS)


# No retries, for what was in flight is repeated by Temporal, and a new worker comes of new demand.
@app.function(
    image=cpu_image,
    secrets=[temporal],
    cpu=1.0,
    memory=1024,
    timeout=TIMEOUT_S,
    startup_timeout=CPU_STARTUP_S,
    min_containers=0,
    max_containers=dispatch.CPU.at_most,
    scaledown_window=10,
    retries=0,
)
def worker() -> None:
    """Serve workflows and tools until there is nothing to do."""
    status = lease.hold(WORKER, seconds=LIFE_S)
    if status:
        raise RuntimeError(f"the worker ended with status {status}: its log says why")


# No snapshots: vLLM is a process of its own, of which a memory snapshot keeps nothing that is slow.
@app.cls(
    image=_image("outlast-worker-vllm", GPU_SETTINGS),
    secrets=[temporal],
    volumes={"/home/outlast/.cache": weights},
    gpu="L4",
    timeout=TIMEOUT_S,
    startup_timeout=GPU_STARTUP_S,
    min_containers=WARM_GPUS,
    max_containers=dispatch.GPU.at_most,
    scaledown_window=120,
    retries=0,
)
class GpuWorker:
    """A worker for model calls, and the vLLM that it alone asks."""

    @modal.enter()
    def load(self) -> None:
        """Start vLLM, and wait until it answers."""
        self.vllm = subprocess.Popen(VLLM, process_group=0)
        deadline = time.monotonic() + GPU_STARTUP_S
        health = ("/opt/outlast/bin/python", "/app/healthcheck.py", "8000", "/health")
        while subprocess.run(health, stderr=subprocess.DEVNULL, check=False).returncode:
            if self.vllm.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"vLLM did not come up (status {self.vllm.poll()})")
            time.sleep(1)

    @modal.method()
    def serve(self) -> None:
        """Serve model calls until there is nothing to do."""
        if self.vllm.poll() is not None:
            self.load()  # it ended under the last worker, and the container is used again
        status = lease.hold(WORKER, seconds=LIFE_S, beside=self.vllm)
        if status or self.vllm.poll() is not None:
            raise RuntimeError(f"the worker ended with status {status}, vLLM {self.vllm.poll()}")

    @modal.exit()
    def unload(self) -> None:
        """End vLLM, which nobody asks any more."""
        lease.end(self.vllm, within_s=VLLM_EXIT_S)


@app.function(
    image=cpu_image,
    secrets=[demand],
    schedule=modal.Period(minutes=1),
    timeout=50,
    max_containers=1,
    retries=0,
)
def safety_net() -> None:
    """Do one round of the dispatcher, should it be away."""
    fleets = dispatch.deployed(BUILD_ID)
    dispatch.dispatch_all(fleets, demand_url=os.environ["DEMAND_URL"], build_id=BUILD_ID)
