"""Which constraints of JSON Schema each structured output engine enforces, ignores and refuses."""
