"""Side effects: what workflows may call, as signatures with light imports."""
