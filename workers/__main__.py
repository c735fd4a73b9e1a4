"""`python -m workers` in a checkout: the same as `outlast worker`."""

import sys

from outlast_workers.__main__ import main

sys.exit(main())
