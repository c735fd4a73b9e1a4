"""The tree of errors at the top of outlast/errors.py is that of the classes."""

import re

from outlast import errors


def tree() -> set[tuple[str, str]]:
    """Return each class of the tree with its base, by their indentation."""
    path: list[str] = []
    found = set()
    for line in str(errors.__doc__).splitlines():
        if match := re.match(r"((?:[│ ]   )*)[├└]── (\w+) ", line):
            level = len(match[1]) // 4
            path = [*path[:level], match[2]]
            found.add((match[2], path[level - 1] if level else "OutlastError"))
    return found


def test_the_tree_lists_each_error_below_its_base() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    raised = [each for each in classes if issubclass(each, errors.OutlastError)]
    assert tree() == {(each.__name__, each.__bases__[0].__name__) for each in raised} - {
        ("OutlastError", "Exception")
    }
