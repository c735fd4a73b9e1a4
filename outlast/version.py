"""The version of the installed package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("outlast")
except PackageNotFoundError:  # imported from files that no installer wrote
    __version__ = "unknown"
