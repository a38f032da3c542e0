"""What SageMaker accepts as a name."""

from __future__ import annotations

import re

# EndpointName and InferenceComponentName in SageMaker's API reference.
_NAME = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}", re.ASCII)
_MAX_NAME_LENGTH = 63
_MOST_PARTS = 2


def is_endpoint_name(name: str) -> bool:
    """Whether SageMaker could have an endpoint, or an inference component, of this name."""
    return len(name) <= _MAX_NAME_LENGTH and _NAME.fullmatch(name) is not None


def is_deployment_name(name: str) -> bool:
    """Whether this could be ``endpoint`` or ``endpoint/component``."""
    parts = name.split("/")
    return len(parts) <= _MOST_PARTS and all(map(is_endpoint_name, parts))
