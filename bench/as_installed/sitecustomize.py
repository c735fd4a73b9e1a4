"""Hides from measured workers what `make setup` installs, and `pip install outlast[workers]` does not.

Python imports this module when it starts. structlog imports rich if it finds it: 60 ms and 4 MiB.
"""

import sys

sys.modules["rich"] = None  # type: ignore[assignment] # an import then fails as without the package
