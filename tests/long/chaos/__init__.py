"""Chaos: a mix of runs while workers, servers and connections fail, and one script per single fault."""
