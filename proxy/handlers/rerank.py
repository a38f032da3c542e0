"""``POST /v1/rerank``: texts in the order of their relevance, as vLLM and others have it."""

from __future__ import annotations

from proxy.dialects.base import Operation
from proxy.handlers.operation import OperationHandler


class RerankHandler(OperationHandler):
    """Answered by the model that the body names."""

    operation = Operation.RERANK
