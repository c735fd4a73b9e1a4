"""The embedded model server: llama.cpp's own server and a small model.

    python -m outlast_workers.local.embedded_model --port 8000

It serves OpenAI-compatible HTTP, on loopback by default, until a signal or the end of its parent process.
"""

import argparse
import importlib
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outlast.errors import NotReady
from outlast_workers.local.ports import HOST, require_free_port
from outlast_workers.local.weights import WEIGHTS_PACKAGE, download_weights, find_weights

ALIAS = "SmolLM2-135M-Instruct"

PARALLEL = 2
"""Requests decoded at the same time. A laptop has few cores, and each slot takes its part of the
context."""

CONTEXT_PER_SLOT = 8_192
"""Tokens, as many as the model was trained with."""

GGUF_MAGIC = b"GGUF"
PARENT_POLL_S = 1.0

CACHED_PROMPTS_MIB = 512
"""Memory for prompts that left their slot, so that runs that alternate are not read again: 20,000
tokens of the small model. llama.cpp's own limit is 8 GiB."""


def check_weights(file: Path) -> None:
    """Raise `NotReady` if `file` is not a model of llama.cpp."""
    try:
        with file.open("rb") as content:
            magic = content.read(len(GGUF_MAGIC))
    except OSError as error:
        raise NotReady(f"the model file {file} cannot be read: {error.strerror}") from None
    if magic != GGUF_MAGIC:
        raise NotReady(f"{file} is not a GGUF model file; name another one")


@dataclass(frozen=True)
class ServeOptions:
    """How the server runs. `context` is in tokens for each of the `parallel` slots."""

    host: str
    port: int
    parallel: int
    context: int
    verbose: bool


def serve(file: Path, options: ServeOptions) -> None:
    """Serve until SIGTERM, SIGINT, or the end of the parent process. Raises `NotReady`."""
    # Set up before loading the model, which takes long: the parent may end or send a signal meanwhile.
    parent = os.getppid()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    check_weights(file)
    require_free_port(
        options.port, host=options.host, user="model server", hint="pass another --port"
    )
    server = _start_server(file, options)
    url = f"http://{options.host}:{options.port}/v1"
    print(f"serving {file.name} on {url}", flush=True)  # noqa: T201 its log
    while not stop.wait(PARENT_POLL_S) and os.getppid() == parent:
        pass
    del server


def _start_server(file: Path, options: ServeOptions) -> Any:
    try:
        # An extra, without type information.
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ModuleNotFoundError:
        raise NotReady(
            "the embedded model needs xllamacpp: pip install 'outlast[workers]'"
        ) from None
    except ImportError as error:
        # A library of the system, which a small container may lack.
        package = "; install libgomp1 (Debian) or libgomp (Fedora)" if "gomp" in str(error) else ""
        raise NotReady(f"the embedded model cannot be loaded: {error}{package}") from None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.model_alias = {ALIAS if file.parent.name == WEIGHTS_PACKAGE else file.stem}
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.n_parallel = options.parallel
    parameters.n_ctx = options.parallel * options.context
    parameters.cache_ram_mib = CACHED_PROMPTS_MIB
    parameters.verbosity = 3 if options.verbose else 0
    # Half of the cores, and no spinning. With all cores, each step waits for its slowest thread if anything
    # else runs: on two cores beside a busy process, one thread takes 8 s and two take 15 s.
    for cores in (parameters.cpuparams, parameters.cpuparams_batch):
        cores.n_threads = max(1, (os.cpu_count() or 1) // 2)
        cores.poll = 0
    try:
        return xllamacpp.Server(parameters)
    except (RuntimeError, ValueError) as error:
        raise NotReady(f"llama.cpp cannot load {file}: {error}; is the file complete?") from None


def main() -> int:
    """Run the command line. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m outlast_workers.local.embedded_model")
    parser.add_argument(
        "--host",
        default=HOST,
        help="address to listen on; 0.0.0.0 in a container (%(default)s)",
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", type=Path, help="a GGUF file (default: the small model)")
    parser.add_argument("--parallel", type=int, default=PARALLEL)
    parser.add_argument(
        "--context", type=int, default=CONTEXT_PER_SLOT, help="tokens for each slot"
    )
    parser.add_argument("--verbose", action="store_true", help="show llama.cpp's own log")
    arguments = parser.parse_args()
    options = ServeOptions(
        host=arguments.host,
        port=arguments.port,
        parallel=arguments.parallel,
        context=arguments.context,
        verbose=arguments.verbose,
    )
    try:
        serve(arguments.model or find_weights() or download_weights(), options)
    except NotReady as error:
        print(f"outlast: {error}", file=sys.stderr)  # noqa: T201 the answer to a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
