"""Errors of tasks: the standard types of the DSL, and those of outlast's own functions."""

ERRORS = "https://serverlessworkflow.io/spec/1.0.0/errors/"
"""Begins the standard error types (dsl-reference.md, "Standard Error Types")."""

OLDER_ERRORS = "https://serverlessworkflow.io/dsl/errors/types/"
"""Begins them in documents for older versions of the DSL, such as its conformance kit."""

CONFIGURATION = f"{ERRORS}configuration"
VALIDATION = f"{ERRORS}validation"
EXPRESSION = f"{ERRORS}expression"
AUTHENTICATION = f"{ERRORS}authentication"
AUTHORIZATION = f"{ERRORS}authorization"
TIMEOUT = f"{ERRORS}timeout"
COMMUNICATION = f"{ERRORS}communication"
RUNTIME = f"{ERRORS}runtime"

DENIED = "urn:outlast:error:denied"
"""People denied a call, or declined to answer."""

STOPPED = "urn:outlast:error:stopped"
"""An agent stopped before it answered, for example because of its limits."""

INPUT_REQUIRED = "urn:outlast:error:input-required"
"""An A2A agent asks a question, and the task names no audience that answers it."""


def current_type(name: str) -> str:
    """Return an error type in its current spelling."""
    if name.startswith(OLDER_ERRORS):
        return ERRORS + name.removeprefix(OLDER_ERRORS)
    return name
