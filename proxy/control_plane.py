"""What SageMaker's control plane tells of endpoints, inference components, and what is behind them.

Every call here blocks, so it runs in a thread. ``ControlPlane`` returns the boto3 client
``sagemaker``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ControlPlane = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint, as ListEndpoints has it."""

    name: str
    status: str
    created: datetime
    modified: datetime


@dataclass(frozen=True, slots=True)
class InferenceComponent:
    """One inference component, as ListInferenceComponents has it."""

    component: str
    endpoint: str
    status: str
    created: datetime
    modified: datetime

    @property
    def name(self) -> str:
        """What clients call it: ``endpoint/component``."""
        return f"{self.endpoint}/{self.component}"


@dataclass(frozen=True, slots=True)
class Description:
    """What runs behind an endpoint or inference component. Any of it may be absent.

    A serverless endpoint has no instance type; one of inference components has no model of its
    own; of several containers, the first is told.
    """

    instance_type: str | None = None
    image: str | None = None
    environment: dict[str, str] = field(default_factory=dict, repr=False)


Deployment = Endpoint | InferenceComponent


def list_endpoints(control_plane: ControlPlane) -> list[Endpoint]:
    """Every endpoint of this account and region, page by page."""
    return [
        Endpoint(
            name=item["EndpointName"],
            status=item["EndpointStatus"],
            created=item["CreationTime"],
            modified=item["LastModifiedTime"],
        )
        for item in _every(control_plane, "list_endpoints", "Endpoints")
    ]


def list_inference_components(control_plane: ControlPlane) -> list[InferenceComponent]:
    """Every inference component of this account and region, page by page."""
    return [
        InferenceComponent(
            component=item["InferenceComponentName"],
            endpoint=item["EndpointName"],
            status=item["InferenceComponentStatus"],
            created=item["CreationTime"],
            modified=item["LastModifiedTime"],
        )
        for item in _every(control_plane, "list_inference_components", "InferenceComponents")
    ]


def _every(control_plane: ControlPlane, operation: str, kind: str) -> list[dict[str, Any]]:
    pages = control_plane().get_paginator(operation).paginate(PaginationConfig={})
    return [item for page in pages for item in page[kind]]


def describe(control_plane: ControlPlane, deployment: Deployment) -> Description:
    """What a deployment runs; of several variants, the first is told."""
    if isinstance(deployment, Endpoint):
        return _describe_endpoint(control_plane, deployment.name)
    return _describe_inference_component(control_plane, deployment.component)


def _describe_endpoint(control_plane: ControlPlane, name: str) -> Description:
    client = control_plane()
    endpoint = client.describe_endpoint(EndpointName=name)
    config = client.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    variants = config.get("ProductionVariants") or [{}]
    variant = variants[0]
    container = _container_of_model(client, variant.get("ModelName"))
    return _description(variant.get("InstanceType"), container.get("Image"), container)


def _describe_inference_component(control_plane: ControlPlane, name: str) -> Description:
    client = control_plane()
    component = client.describe_inference_component(InferenceComponentName=name)
    specification = component.get("Specification") or (component.get("Specifications") or [{}])[0]
    instance_type = specification.get("InstanceType")
    if container := specification.get("Container"):
        deployed = container.get("DeployedImage") or {}
        return _description(instance_type, deployed.get("SpecifiedImage"), container)
    container = _container_of_model(client, specification.get("ModelName"))
    return _description(instance_type, container.get("Image"), container)


def _container_of_model(client: Any, name: str | None) -> dict[str, Any]:
    if not name:
        return {}
    model = client.describe_model(ModelName=name)
    container: dict[str, Any] = (
        model.get("PrimaryContainer") or (model.get("Containers") or [{}])[0]
    )
    return container


def _description(
    instance_type: str | None, image: str | None, container: Mapping[str, Any]
) -> Description:
    return Description(instance_type, image, dict(container.get("Environment") or {}))
