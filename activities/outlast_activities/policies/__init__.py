"""Pure rules that workflows may import."""
