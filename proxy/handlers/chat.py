"""``POST /v1/chat/completions``: OpenAI's chat."""

from __future__ import annotations

from proxy.dialects.base import Operation
from proxy.handlers.operation import OperationHandler


class ChatHandler(OperationHandler):
    """Answered by the model that the body names."""

    operation = Operation.CHAT
