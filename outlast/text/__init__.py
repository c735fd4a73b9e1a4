"""Text for people and machines: JSON, names, and what is safe to show."""
