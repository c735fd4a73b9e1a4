"""A bounded subset of jq for the expressions of pipelines: parser, evaluation, and functions."""
