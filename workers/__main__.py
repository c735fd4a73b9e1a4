"""`python -m workers` in a checkout: the same as `outlast worker`."""

from outlast_workers.__main__ import run_and_exit

run_and_exit()
