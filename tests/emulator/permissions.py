"""Remembers what callers would have needed IAM's permission for: each action and its resource."""

import json
import threading
from collections.abc import Callable
from typing import Any

from tests.emulator.names import ACCOUNT, CALLER

# The resource of a control plane's action, and the parameter that names it. Lists have none.
_RESOURCES = {
    "DescribeEndpoint": ("endpoint", "EndpointName"),
    "DescribeEndpointConfig": ("endpoint-config", "EndpointConfigName"),
    "DescribeModel": ("model", "ModelName"),
    "DescribeInferenceComponent": ("inference-component", "InferenceComponentName"),
}


class PermissionLog:
    """Distinct pairs of action and ARN, as policies have them; safe from any thread."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._pairs: set[tuple[str, str]] = set()
        self._denied: set[str] = set()
        self._lock = threading.Lock()

    def add(self, action: str, kind: str = "", name: str = "") -> None:
        """Record an action of SageMaker's on a resource; without one, on all."""
        where = f"arn:aws:sagemaker:{self._region}:{ACCOUNT}:{kind}/{name.lower()}"
        with self._lock:
            self._pairs.add((f"sagemaker:{action}", where if kind else "*"))

    def add_storage(self, action: str, where: str) -> None:
        """Record an action of S3's on a bucket, or on an object as bucket/key."""
        with self._lock:
            self._pairs.add((action, f"arn:aws:s3:::{where}"))

    def deny(self, action: str) -> None:
        """Refuse an action of the control plane's from now on, as IAM does."""
        with self._lock:
            self._denied.add(action)

    def deny_nothing(self) -> None:
        """Let everything be allowed again."""
        with self._lock:
            self._denied.clear()

    def pairs(self) -> set[tuple[str, str]]:
        """Return what was recorded so far."""
        with self._lock:
            return set(self._pairs)

    def watching(self, call_action: Callable[[Any], Any], caller: str) -> Callable[[Any], Any]:
        """Wrap moto's way to a control plane's operation, to record what `caller` asks for.

        What is denied is refused.
        """

        def call(response: Any) -> Any:
            if response.get_access_key() == caller:
                action = response._get_action()
                kind, parameter = _RESOURCES.get(action, ("", ""))
                name = json.loads(response.body or "{}").get(parameter, "") if kind else ""
                self.add(action, kind, name)
                if action in self._denied:
                    return 400, {}, self._denial(action, kind or "endpoint", name or "*")
            return call_action(response)

        return call

    def _denial(self, action: str, kind: str, name: str) -> str:
        resource = f"arn:aws:sagemaker:{self._region}:{ACCOUNT}:{kind}/{name.lower()}"
        message = (
            f"User: {CALLER} is not authorized to perform: sagemaker:{action} on resource: "
            f"{resource} because no identity-based policy allows the sagemaker:{action} action"
        )
        return json.dumps({"__type": "AccessDeniedException", "Message": message})
