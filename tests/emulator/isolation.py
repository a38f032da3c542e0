"""Keeps the AWS settings of whoever runs this away from the emulator and its clients."""

import os

NO_AWS_FILES = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}


def forget_aws_settings() -> None:
    """Forget this process's AWS settings, files included: profile, credentials, endpoints."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(NO_AWS_FILES)
