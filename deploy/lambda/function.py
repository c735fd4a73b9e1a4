"""The entry point of the Lambda function. It reads the settings once, at the cold start."""

from outlast_workers.serverless.aws_lambda import LambdaFunction
from outlast_workers.settings import load_settings

serve = LambdaFunction(load_settings()).serve
