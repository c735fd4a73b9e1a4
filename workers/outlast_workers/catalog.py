"""The agents and tools of a process, loaded from the modules that its settings name."""

import importlib
import sys
from collections.abc import Iterable

from outlast.agents import Catalog
from outlast.errors import DefinitionError, NotReady


def load_catalog(modules: Iterable[str]) -> Catalog:
    """Import the modules and collect their agents and tools; raises `NotReady` with one line."""
    loaded = []
    for name in modules:
        try:
            module = importlib.import_module(name)
            catalog = Catalog.of([module])
            if not catalog.agents and not catalog.tools:
                raise NotReady(f"--agents {name}: the module defines no Agent and no @tool")
            loaded.append(module)
        except ModuleNotFoundError as error:
            raise NotReady(
                f"--agents {name}: no module {error.name!r} on {sys.path[0] or '.'}"
            ) from error
        except DefinitionError as error:
            raise NotReady(f"--agents {name}: {error}") from error
    try:
        return Catalog.of(loaded)
    except DefinitionError as error:
        raise NotReady(f"--agents: {error}") from error
