"""What people decide and say: human requests, steering and conversations."""
