"""How many workers a task queue needs, told to whatever starts them."""
