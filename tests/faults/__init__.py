"""Faults that users of other agent systems reported: small inputs, and how a run must end with each.

`f1` to `f34` in the names of tests number the faults. Three have their tests elsewhere: f10 (a model that
thinks, in `tests/activities/providers/test_probe.py`), f30 (a call that was approved and not made, in
`tests/workflows/calls/test_ends_of_effects.py`) and f16 for all texts
(`tests/activities/test_tool_runner.py`).
"""
