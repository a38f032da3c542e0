"""``GET /v1/models``: the endpoints as OpenAI lists models."""

from __future__ import annotations

from proxy.catalog import Endpoint
from proxy.errors import ModelNotFound
from proxy.handlers.base import BaseHandler


class ModelsHandler(BaseHandler):
    """All of them."""

    async def respond(self, *path: str) -> None:
        """List every endpoint of this key, in service or not."""
        endpoints = await self.services.catalog.endpoints()
        models = [_model(endpoint) for endpoint in endpoints if self.may_call(endpoint.name)]
        self.write_json({"object": "list", "data": models})


class ModelHandler(BaseHandler):
    """One of them."""

    async def respond(self, *path: str) -> None:
        """Tell of one endpoint by its name."""
        self.check_access(path[0])
        endpoint = await self.services.catalog.find(path[0])
        if endpoint is None:
            raise ModelNotFound(path[0])
        self.write_json(_model(endpoint))


def _model(endpoint: Endpoint) -> dict[str, object]:
    return {
        "id": endpoint.name,
        "object": "model",
        "created": int(endpoint.created.timestamp()),
        "owned_by": "sagemaker",
        "status": endpoint.status,
    }
