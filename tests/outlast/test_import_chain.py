"""Run it as a program for the longest chains: `python -m tests.outlast.test_import_chain`."""

import graphlib

import grimp
import pytest

MAX_CHAIN = 10
"""Modules that import each other one after another: what a reader opens to reach the bottom.

The first is the command line, which imports only the command that it runs."""

LANGUAGES = ("outlast.pipelines", "outlast.pipelines.jq")
"""Packages that are read by themselves: each counts as one module for the others."""


def longest_chain(package: str = "outlast") -> list[str]:
    """Return the longest chain of imports at run time inside a package."""
    graph = grimp.build_graph("outlast", exclude_type_checking_imports=True, cache_dir=None)
    for language in LANGUAGES:
        is_inside = language != package and not package.startswith(f"{language}.")
        if is_inside and language in graph.modules:
            graph.squash_module(language)
    inside = {name for name in graph.modules if name == package or name.startswith(f"{package}.")}
    imports = {name: graph.find_modules_directly_imported_by(name) & inside for name in inside}
    chains: dict[str, list[str]] = {}
    for module in graphlib.TopologicalSorter(imports).static_order():
        deepest = max((chains[name] for name in imports[module]), key=len, default=[])
        chains[module] = [module, *deepest]
    return max(chains.values(), key=len)


@pytest.mark.parametrize("package", ["outlast", *LANGUAGES])
def test_imports_in_the_published_package_stay_shallow(package: str) -> None:
    chain = longest_chain(package)
    assert len(chain) <= MAX_CHAIN, " -> ".join(chain)


if __name__ == "__main__":
    for name in ("outlast", *LANGUAGES):
        print(len(chain := longest_chain(name)), " -> ".join(chain))
