"""Everything that crosses a boundary: what people type and read, and what workers send each other.

Names here are stable; a new field is optional.
"""
