"""The entry point of the Lambda function: its settings are read once, at the cold start."""

from outlast_workers.serverless.aws_lambda import LambdaFunction
from outlast_workers.settings import load_settings

serve = LambdaFunction(load_settings()).serve
