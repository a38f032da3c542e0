"""No test sees the AWS account of whoever runs it."""

from tests.emulator.isolation import forget_aws_settings

forget_aws_settings()
