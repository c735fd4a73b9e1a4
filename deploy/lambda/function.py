"""The entry point of the Lambda function: its settings are read once, at the cold start."""

from workers.aws_lambda import LambdaFunction
from workers.settings import load_settings

serve = LambdaFunction(load_settings()).serve
