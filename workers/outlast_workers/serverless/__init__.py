"""Entry points of serverless platforms."""
