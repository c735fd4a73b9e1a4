"""Pipelines: documents of the CNCF Serverless Workflow DSL 1.0, their check, and their expressions."""
