"""Fuzzing: whatever a stranger sends is refused or handled by name, within a second."""
