"""The command line of `outlast pipeline`."""

import argparse
from collections.abc import Callable
from pathlib import Path

PIPELINE = """\
Validates and draws pipelines: documents of the CNCF Serverless Workflow DSL 1.0 as JSON or YAML.
"""

CHECK = """\
Validates a document, and prints each problem with its place as a JSON pointer. The exit status is 0 if
the document is valid, and 1 if it is not.
"""


def add_pipeline(add_parser: Callable[..., argparse.ArgumentParser]) -> None:
    """Add `outlast pipeline` and its commands."""
    command = add_parser("pipeline", help="validate and draw pipelines", description=PIPELINE)
    verbs = command.add_subparsers(required=True, metavar="COMMAND", dest="verb")
    for name, text, description in (
        ("check", "validate a document", CHECK),
        ("graph", "print a document as a Mermaid flowchart", "Prints a Mermaid flowchart."),
    ):
        verb = verbs.add_parser(name, help=text, description=description)
        verb.add_argument("file", metavar="FILE", type=Path, help="JSON or YAML; - reads stdin")
        verb.set_defaults(command="pipeline", error=verb.error)
