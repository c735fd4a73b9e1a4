"""Hides from measured workers what `make setup` installs, and users of the measured library do not.

Python imports this module when it starts.

- structlog imports rich if it finds it: 60 ms and 4 MiB. `pip install outlast[workers]` does not install
  it.
- temporalio imports grpcio if it finds it: 9 MiB. `pip install temporalio` does not install it. A worker of
  outlast hides it from temporalio.
"""

import sys

for name in ("rich", "grpc"):
    sys.modules[name] = None  # type: ignore[assignment] # an import then fails as without the package
