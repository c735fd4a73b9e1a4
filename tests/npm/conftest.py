"""The fixtures of pages in a browser."""

from tests.chromium import browser

__all__ = ["browser"]
