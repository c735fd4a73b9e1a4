"""The activity that asks a model for the next decision."""
