"""Workers and servers that are killed under runs with effects: nothing is lost or done twice."""
