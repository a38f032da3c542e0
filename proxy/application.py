"""Wiring: services in, routes out."""

from __future__ import annotations

from tornado.web import Application, RequestHandler

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
from proxy.handlers.metrics import MetricsHandler
from proxy.handlers.models import ModelHandler, ModelsHandler
from proxy.handlers.openapi import OpenAPIHandler
from proxy.handlers.rerank import RerankHandler
from proxy.handlers.services import Services

# The route as the log names it, its pattern, and what answers it.
ROUTES: tuple[tuple[str, str, type[BaseHandler]], ...] = (
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
    ("/v1/embeddings", r"/v1/embeddings", EmbeddingsHandler),
    ("/v1/rerank", r"/v1/rerank", RerankHandler),
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
    ("/embeddings", r"/embeddings", EmbeddingsHandler),
    ("/rerank", r"/rerank", RerankHandler),
)


def make_application(services: Services) -> Application:
    """The Tornado application. It logs nothing itself: each handler writes its access line."""
    return Application(
        [
            (pattern, handler, {"services": services, "route": route})
            for route, pattern, handler in ROUTES
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args={"services": services, "route": NO_ROUTE},
        log_function=_log_nothing,
    )


def _log_nothing(handler: RequestHandler) -> None:
    pass
