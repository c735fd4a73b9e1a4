"""Benchmarks of outlast beside plain Temporal and beside the loop that most people write."""
