"""``POST /v1/completions``: OpenAI's older completions of a text."""

from __future__ import annotations

from proxy.dialects.base import Operation
from proxy.handlers.operation import OperationHandler


class CompletionsHandler(OperationHandler):
    """Answered by the model that the body names."""

    operation = Operation.COMPLETIONS
