"""Wiring: services in, routes out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy.handlers.asynchronous import AsyncInvocationsHandler, AsyncResultHandler
from proxy.handlers.base import BaseHandler, NotFoundHandler
from proxy.handlers.chat import ChatHandler
from proxy.handlers.classic import ListEndpointsHandler, PredictHandler, RootHandler
from proxy.handlers.completions import CompletionsHandler
from proxy.handlers.console import ConsoleFileHandler, ConsoleHandler
from proxy.handlers.docs import DocsFileHandler, DocsHandler
from proxy.handlers.embeddings import EmbeddingsHandler
from proxy.handlers.figures import FiguresHandler
from proxy.handlers.health import HealthHandler, ReadyHandler
from proxy.handlers.invocations import InvocationsHandler, ResponseStreamHandler
from proxy.handlers.lifecycle import NO_ROUTE
from proxy.handlers.messages import CountTokensHandler, MessagesHandler
from proxy.handlers.metrics import MetricsHandler
from proxy.handlers.models import ModelHandler, ModelsHandler
from proxy.handlers.openapi import OpenAPIHandler
from proxy.handlers.rerank import RerankHandler
from proxy.handlers.responses import ResponsesHandler
from proxy.handlers.services import Services
from proxy.handlers.transcriptions import TranscriptionsHandler
from proxy.http_request import Request
from proxy.server_connection import ServerConnection

# The route as the log names it, its pattern, and what answers it.
Route = tuple[str, str, type[BaseHandler]]

ROUTES: tuple[Route, ...] = (
    ("/", r"/", RootHandler),
    ("/healthz", r"/healthz", HealthHandler),
    ("/readyz", r"/readyz", ReadyHandler),
    ("/openapi.json", r"/openapi\.json", OpenAPIHandler),
    ("/docs", r"/docs", DocsHandler),
    ("/docs/{file}", r"/docs/([^/]+)", DocsFileHandler),
    ("/console", r"/console", ConsoleHandler),
    ("/console/figures", r"/console/figures", FiguresHandler),
    ("/console/{file}", r"/console/([^/]+)", ConsoleFileHandler),
    ("/metrics", r"/metrics", MetricsHandler),
    ("/v1/models", r"/v1/models", ModelsHandler),
    ("/v1/models/{id}", r"/v1/models/(.+)", ModelHandler),
    ("/v1/chat/completions", r"/v1/chat/completions", ChatHandler),
    ("/v1/completions", r"/v1/completions", CompletionsHandler),
    ("/v1/responses", r"/v1/responses", ResponsesHandler),
    ("/v1/messages", r"/v1/messages", MessagesHandler),
    ("/v1/messages/count_tokens", r"/v1/messages/count_tokens", CountTokensHandler),
    ("/v1/embeddings", r"/v1/embeddings", EmbeddingsHandler),
    ("/v1/rerank", r"/v1/rerank", RerankHandler),
    ("/v2/rerank", r"/v2/rerank", RerankHandler),
    ("/v1/audio/transcriptions", r"/v1/audio/transcriptions", TranscriptionsHandler),
    ("/endpoints/{name}/invocations", r"/endpoints/([^/]+)/invocations", InvocationsHandler),
    (
        "/endpoints/{name}/invocations-response-stream",
        r"/endpoints/([^/]+)/invocations-response-stream",
        ResponseStreamHandler,
    ),
    (
        "/endpoints/{name}/async-invocations",
        r"/endpoints/([^/]+)/async-invocations",
        AsyncInvocationsHandler,
    ),
    (
        "/endpoints/{name}/async-invocations/{id}",
        r"/endpoints/([^/]+)/async-invocations/([^/]+)",
        AsyncResultHandler,
    ),
    ("/list_endpoints", r"/list_endpoints", ListEndpointsHandler),
    ("/predict", r"/predict", PredictHandler),
    ("/models", r"/models", ModelsHandler),
    ("/models/{id}", r"/models/(.+)", ModelHandler),
    ("/chat/completions", r"/chat/completions", ChatHandler),
    ("/completions", r"/completions", CompletionsHandler),
    ("/responses", r"/responses", ResponsesHandler),
    ("/embeddings", r"/embeddings", EmbeddingsHandler),
    ("/rerank", r"/rerank", RerankHandler),
    ("/audio/transcriptions", r"/audio/transcriptions", TranscriptionsHandler),
)


_Found = tuple[type[BaseHandler], str, tuple[str, ...]]


class Application:
    """What each request is handed to."""

    def __init__(self, services: Services, routes: Sequence[Route] = ROUTES) -> None:
        self.services = services
        # A pattern without a group is a path.
        self._paths = {
            pattern.replace("\\", ""): (handler, route, ())
            for route, pattern, handler in routes
            if "(" not in pattern
        }
        self._patterns = [
            (re.compile(pattern), handler, route)
            for route, pattern, handler in routes
            if "(" in pattern
        ]

    def take(self, connection: ServerConnection, request: Request) -> BaseHandler:
        """Have the handler of its path admit or refuse a request, whose body is still to come."""
        handler, route, groups = self.find(request.uri.partition("?")[0])
        taker = handler(self.services, route, connection, request, groups)
        taker.prepare()
        return taker

    def find(self, path: str) -> _Found:
        """The handler of a path, its route's name, and the groups of its pattern."""
        if exact := self._paths.get(path):
            return exact
        for pattern, handler, route in self._patterns:
            if found := pattern.fullmatch(path):
                return handler, route, found.groups()
        return NotFoundHandler, NO_ROUTE, ()
