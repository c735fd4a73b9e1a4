"""The command line of `outlast pipeline`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from outlast.contracts.names import AGENTS_QUEUE

PIPELINE = """\
Validates, draws, imports and runs pipelines: documents of the CNCF Serverless Workflow DSL 1.0, as JSON
or YAML.
"""

CHECK = """\
Validates a document, and prints each problem with its place as a JSON pointer. The exit status is 0 if
the document is valid, and 1 if it is not.
"""

GRAPH = """\
Prints a flowchart as text for Mermaid, or a picture as SVG. The exit status is 0 if the document is valid,
and 1 if it is not.
"""

IMPORT = """\
Converts a state machine in the Amazon States Language (AWS Step Functions) to a document, and prints it.
The file of --map names an agent or a tool for each resource, such as {"charge": {"tool": "charge_card"}}
for the function `charge`. Parts that cannot be converted are printed on stderr with their places, and
become tasks that `check` rejects. The exit status is then 1, and otherwise 0.
"""

RUN = """\
Validates a document, starts it, and follows it: progress goes to stderr, and the output to stdout. Ctrl-C
ends only this command: the pipeline goes on. The exit status is 0 if it completed, 1 if it is invalid or
failed, and 3 if it stopped.
"""

AddParser = Callable[..., argparse.ArgumentParser]


def add_pipeline(
    add_parser: AddParser,
    *,
    parse_json: Callable[[str], Any],
    add_connection: Callable[[argparse.ArgumentParser], None],
    epilog: str,
) -> None:
    """Add `outlast pipeline` and its commands."""
    command = add_parser(
        "pipeline", help="validate, draw, import and run pipelines", description=PIPELINE
    )
    verbs = command.add_subparsers(required=True, metavar="COMMAND", dest="verb")
    _add_verb(verbs.add_parser, "check", "validate a document", CHECK)
    graph = _add_verb(verbs.add_parser, "graph", "draw a document", GRAPH)
    graph.add_argument(
        "--format",
        choices=("mermaid", "svg"),
        default="mermaid",
        help="text for Mermaid, or a picture (%(default)s)",
    )
    moved = _add_verb(verbs.add_parser, "import", "import a state machine", IMPORT)
    moved.add_argument(
        "--map", metavar="FILE", type=Path, help="agents and tools for the resources, as JSON"
    )
    moved.add_argument(
        "--name", metavar="NAME", help="name of the document (default: that of the file)"
    )
    run = _add_verb(verbs.add_parser, "run", "run a document, and follow it to its end", RUN)
    run.add_argument("--input", metavar="JSON", type=parse_json, help="the input of the first task")
    run.add_argument("--id", metavar="ID", help="the id of the run (its workflow id)")
    run.add_argument(
        "--tenant", metavar="NAME", default="default", help="tenant of the run (%(default)s)"
    )
    run.add_argument(
        "--task-queue",
        metavar="QUEUE",
        default=AGENTS_QUEUE,
        help="task queue of the workers (%(default)s)",
    )
    run.add_argument("--json", action="store_true", help="print the whole result as JSON")
    run.epilog = epilog
    add_connection(run)


def _add_verb(
    add_parser: AddParser, name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    verb = add_parser(name, help=summary, description=description)
    verb.add_argument("file", metavar="FILE", type=Path, help="JSON or YAML; - reads stdin")
    verb.set_defaults(command="pipeline", error=verb.error)
    return verb
