"""Run it as a program for the longest chain: `python -m tests.outlast.test_import_chain`."""

import graphlib

import grimp

MAX_CHAIN = 10
"""Modules that import each other one after another: what a reader opens to reach the bottom.

The first is the command line, which imports only the command that it runs."""


def longest_chain(package: str = "outlast") -> list[str]:
    """Return the longest chain of imports at run time inside a package."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    chains: dict[str, list[str]] = {}
    for module in graphlib.TopologicalSorter(imports).static_order():
        deepest = max((chains[name] for name in imports[module]), key=len, default=[])
        chains[module] = [module, *deepest]
    return max(chains.values(), key=len)


def test_imports_in_the_published_package_stay_shallow() -> None:
    chain = longest_chain()
    assert len(chain) <= MAX_CHAIN, " -> ".join(chain)


if __name__ == "__main__":
    print(len(chain := longest_chain()), " -> ".join(chain))
