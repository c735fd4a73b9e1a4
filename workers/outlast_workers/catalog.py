"""The agents and tools of a process, loaded from the modules that its settings name."""

import importlib
import os
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from outlast.agents.catalog import Catalog
from outlast.errors import DefinitionError, NotReady
from outlast.temporal.connection import MAX_REASON_BYTES
from outlast.text.texts import cut


def load_catalog(modules: Iterable[str]) -> Catalog:
    """Import the modules and collect their agents and tools; raises `NotReady` with one line."""
    loaded = [_load_module(name) for name in modules]
    try:
        return Catalog.of(loaded)
    except DefinitionError as error:
        raise NotReady(f"--agents: {error}") from error


def _load_module(name: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
        catalog = Catalog.of([module])
    except ModuleNotFoundError as error:
        raise NotReady(_missing(name, error)) from error
    except DefinitionError as error:
        raise NotReady(f"--agents {name}: {error}") from error
    except (Exception, SystemExit) as error:
        reason = cut(f"{type(error).__name__}: {error}", MAX_REASON_BYTES)
        raise NotReady(f"--agents {name}: importing it fails{_place(error)}: {reason}") from error
    if not catalog.agents and not catalog.tools:
        file = getattr(module, "__file__", None) or "a built-in module"
        raise NotReady(
            f"--agents {name}: the module defines no Agent and no @tool ({file}); if yours is another file,"
            " give it a name that no other module has"
        )
    return module


def _missing(name: str, error: ModuleNotFoundError) -> str:
    """Return what is missing: the module itself, or one that it imports."""
    if error.name and name != error.name and not name.startswith(f"{error.name}."):
        return (
            f"--agents {name}: it imports {error.name!r}, which is not installed{_place(error)}: "
            "pip install it in this environment"
        )
    hint = "; give a module name, not a file name" if name.endswith(".py") else ""
    return (
        f"--agents {name}: no module {error.name!r} on this machine: looked in the current folder "
        f"({os.getcwd()}), in PYTHONPATH, and among the installed packages{hint}"
    )


def _place(error: BaseException) -> str:
    """Return the file and line where the import of a module failed."""
    if isinstance(error, SyntaxError):
        return f" ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and "importlib" not in frame.filename
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames[1:] else ""
