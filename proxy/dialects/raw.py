"""The dialect of containers with a schema of their own, as XGBoost's: the native path alone."""

from __future__ import annotations

from proxy.dialects.base import Operation, Rendered, Settings
from proxy.errors import InvalidRequest


def render(body: bytes, operation: Operation, *, model: str, settings: Settings) -> Rendered:
    """Raises ``InvalidRequest``, which tells the path to use."""
    raise InvalidRequest(
        f"this model's container takes no {operation}; send it what it takes at "
        "/endpoints/NAME/invocations",
        param="model",
    )
