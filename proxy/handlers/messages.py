"""``POST /v1/messages`` and ``/v1/messages/count_tokens``: Anthropic's Messages API."""

from __future__ import annotations

import json
from typing import ClassVar

from proxy.apis.base import Api
from proxy.apis.messages import COUNT, MESSAGES
from proxy.apis.messages_errors import error_json
from proxy.errors import ProxyError
from proxy.handlers.base import JSON
from proxy.handlers.translated import TranslatedHandler


class MessagesHandler(TranslatedHandler):
    """Answered by the model that the body names, with a chat.

    The headers ``anthropic-version`` and ``anthropic-beta`` may be left out, and have no effect:
    there is one version, and what a beta adds to the body is translated or refused there.
    """

    api: ClassVar[Api] = MESSAGES

    def prepare(self) -> None:
        """Name the request as Anthropic does, too."""
        self.set_header("Request-Id", self.request_id)
        super().prepare()

    def format_error(self, error: ProxyError) -> tuple[int, dict[str, str], bytes]:
        """Anthropic's shape."""
        body = {**error_json(error), "request_id": self.request_id}
        return error.status, {"Content-Type": JSON}, json.dumps(body).encode()


class CountTokensHandler(MessagesHandler):
    """Counted by the model that the body names, which answers with one token for it."""

    api: ClassVar[Api] = COUNT
