"""The import of state machines in the Amazon States Language as documents of pipelines.

The rules are those of the specification (states-language.net, read in 2026-11) and of the developer guide
of AWS Step Functions. JSONPath is moved to jq. State machines in JSONata are rejected.
"""
