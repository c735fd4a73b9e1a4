"""The agents and tools of a process, loaded from the modules that its settings name."""

import importlib
import inspect
import os
import re
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

import outlast
from outlast.agents.catalog import Catalog
from outlast.errors import DefinitionError, NotReady
from outlast.temporal.connection import MAX_REASON_BYTES
from outlast.text.hints import hint
from outlast.text.texts import cut
from outlast.validation import explain

_UNKNOWN_ARGUMENT = re.compile(
    r"((\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)')"
    r"(?:\. Did you mean '\w+'\?)?"  # since Python 3.13
)


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
        raise NotReady(f"--agents {name}{_place(error)}: {error}") from error
    except (Exception, SystemExit) as error:
        reason = cut(f"{type(error).__name__}: {_explained(error)}", MAX_REASON_BYTES)
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
    """Return the file and line of the user's code where the import of a module failed."""
    if isinstance(error, SyntaxError):
        return f" ({Path(error.filename or '?').name}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)[1:]
        if not frame.filename.startswith("<") and "importlib" not in frame.filename
    ]
    own = [frame for frame in frames if not _is_of_a_library(Path(frame.filename))]
    # Agents that are installed as a package: the line of the module itself.
    place = own[-1:] or frames[:1]
    return f" ({Path(place[0].filename).name}, line {place[0].lineno})" if place else ""


def _is_of_a_library(file: Path) -> bool:
    paths = sysconfig.get_paths()
    libraries = (Path(outlast.__file__).parent, paths["stdlib"], paths["purelib"], paths["platlib"])
    return any(file.is_relative_to(library) for library in libraries)


def _explained(error: BaseException) -> str:
    """Return the message of an exception, with the nearest name for an unknown argument of outlast."""
    if isinstance(error, ValidationError):
        return f"{error.title}: {explain(error)}"
    unknown = _UNKNOWN_ARGUMENT.fullmatch(str(error))
    if unknown and unknown[2] in outlast.__all__:
        known = inspect.signature(getattr(outlast, unknown[2])).parameters
        return f"{unknown[1]}; {hint(unknown[3], known)}"
    return str(error)
