"""The entry point of the Lambda function. It reads settings and secrets at the cold start."""

from outlast_workers.serverless.aws_lambda import LambdaFunction

serve = LambdaFunction.from_environment().serve
