"""The activity that makes a model call and returns the model's next decision."""
