"""``GET /v1/models``: the endpoints as OpenAI lists models."""

from __future__ import annotations

from proxy.catalog import Endpoint
from proxy.errors import ModelNotFound
from proxy.handlers.base import BaseHandler


class ModelsHandler(BaseHandler):
    """All of them."""

    async def respond(self, *path: str) -> None:
        """List every endpoint, in service or not."""
        models = [_model(endpoint) for endpoint in await self.services.catalog.endpoints()]
        self.write_json({"object": "list", "data": models})


class ModelHandler(BaseHandler):
    """One of them."""

    async def respond(self, *path: str) -> None:
        """Tell of one endpoint by its name."""
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
