"""Teaches moto to list and describe inference components, which it does not know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tests.emulator.names import ACCOUNT, VARIANT, endpoint_arn

_PAGE = 10


@dataclass(frozen=True)
class _Component:
    name: str
    endpoint: str
    region: str
    created: datetime
    copies: int = 1

    def summary(self) -> dict[str, Any]:
        return {
            "InferenceComponentName": self.name,
            "InferenceComponentArn": (
                f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:inference-component/{self.name}"
            ),
            "EndpointName": self.endpoint,
            "EndpointArn": endpoint_arn(self.endpoint, self.region),
            "VariantName": VARIANT,
            "InferenceComponentStatus": "InService",
            "CreationTime": self.created,
            "LastModifiedTime": self.created,
        }

    def description(self) -> dict[str, Any]:
        return {
            **self.summary(),
            "Specification": {"ModelName": self.endpoint},
            "RuntimeConfig": {"DesiredCopyCount": self.copies, "CurrentCopyCount": self.copies},
        }


class InferenceComponents:
    """The components of all endpoints, and the two operations on them."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._components: dict[str, _Component] = {}

    def add(self, endpoint: str, names: Sequence[str]) -> None:
        """Put components on an endpoint."""
        for name in names:
            now = datetime.now(UTC)
            self._components[name] = _Component(name, endpoint, self._region, now)

    def set_copies(self, name: str, copies: int) -> None:
        """Let a component have so many copies; 0 is how it sleeps."""
        self._components[name] = replace(self._components[name], copies=copies)

    def remove(self, endpoint: str) -> None:
        """Forget the components of an endpoint."""
        kept = {key: item for key, item in self._components.items() if item.endpoint != endpoint}
        self._components = kept

    def install(self) -> None:
        """Add the operations to moto, which finds them by their methods' names."""
        from moto.sagemaker.responses import SageMakerResponse

        for name, method in self._operations().items():
            setattr(SageMakerResponse, name, method)

    def uninstall(self) -> None:
        """Leave moto as it was."""
        from moto.sagemaker.responses import SageMakerResponse

        for name in self._operations():
            delattr(SageMakerResponse, name)

    def _operations(self) -> dict[str, Callable[[Any], Any]]:
        # moto only takes plain functions, hence these two around the table.
        def list_inference_components(response: Any) -> Any:
            return self._list(response)

        def describe_inference_component(response: Any) -> Any:
            return self._describe(response)

        return {
            "list_inference_components": list_inference_components,
            "describe_inference_component": describe_inference_component,
        }

    def _list(self, response: Any) -> Any:
        from moto.core.responses import ActionResult

        endpoint = response._get_param("EndpointNameEquals")
        contained = response._get_param("NameContains") or ""
        start = int(response._get_param("NextToken") or 0)
        end = start + int(response._get_param("MaxResults") or _PAGE)
        found = [
            component.summary()
            for component in self._components.values()
            if endpoint in (None, component.endpoint) and contained in component.name
        ]
        token = str(end) if end < len(found) else None
        return ActionResult({"InferenceComponents": found[start:end], "NextToken": token})

    def _describe(self, response: Any) -> Any:
        from moto.core.responses import ActionResult
        from moto.sagemaker.exceptions import ValidationError

        name = response._get_param("InferenceComponentName")
        component = self._components.get(name)
        if component is None:
            raise ValidationError(message=f"Could not find inference component '{name}'.")
        return ActionResult(component.description())
