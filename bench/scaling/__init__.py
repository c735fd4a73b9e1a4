"""The measurement of scaling to zero: bursts of runs, and workers that start and end."""
