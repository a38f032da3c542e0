"""``POST /v1/embeddings``: OpenAI's embeddings."""

from __future__ import annotations

from proxy.dialects.base import Operation
from proxy.handlers.operation import OperationHandler


class EmbeddingsHandler(OperationHandler):
    """Answered by the model that the body names."""

    operation = Operation.EMBEDDINGS
