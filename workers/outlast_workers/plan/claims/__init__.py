"""Published claims about cost and delay, and the verdict of the planner on each."""
