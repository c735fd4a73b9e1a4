"""The part of a JSON Schema that a decoding engine can enforce."""
