"""``GET /v1/models``: what this key may call, as OpenAI lists models."""

from __future__ import annotations

from proxy.errors import ModelNotFound
from proxy.handlers.base import BaseHandler
from proxy.models import Model


class ModelsHandler(BaseHandler):
    """All of them."""

    async def respond(self, *path: str) -> None:
        """List every model of this key, in service or not."""
        models = await self.services.models.all()
        shown = [_to_openai(model) for model in models if self.may_call(model.name)]
        self.write_json({"object": "list", "data": shown})


class ModelHandler(BaseHandler):
    """One of them."""

    async def respond(self, *path: str) -> None:
        """Tell of one model by its name."""
        self.check_access(path[0])
        model = await self.services.models.find(path[0])
        if model is None:
            raise ModelNotFound(path[0])
        self.write_json(_to_openai(model))


def _to_openai(model: Model) -> dict[str, object]:
    """OpenAI's four fields, and what else there is to tell."""
    return {
        "id": model.name,
        "object": "model",
        "created": int(model.created.timestamp()) if model.created else 0,
        "owned_by": "sagemaker",
        "status": model.status,
        "kind": model.kind,
        "dialect": model.dialect,
        "instance_type": model.instance_type,
    }
