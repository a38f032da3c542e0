"""``POST /v1/responses``: OpenAI's Responses API."""

from __future__ import annotations

from typing import ClassVar

from proxy.apis.base import Api
from proxy.apis.responses import RESPONSES
from proxy.handlers.translated import TranslatedHandler


class ResponsesHandler(TranslatedHandler):
    """Answered by the model that the body names, with a chat.

    No route leads to an answer again, for none is stored, and each says so.
    """

    api: ClassVar[Api] = RESPONSES
