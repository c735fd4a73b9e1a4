"""A planner: simulates a workload on several architectures, and says what each costs."""
