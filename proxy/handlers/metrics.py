"""``GET /metrics``: all workers together, for Prometheus."""

from __future__ import annotations

from proxy.errors import Forbidden
from proxy.exposition import Facts
from proxy.handlers.base import BaseHandler


class MetricsHandler(BaseHandler):
    """For keys of every model: it tells of all models, and of all keys by their names."""

    async def respond(self, *path: str) -> None:
        """Write them in the format that the reader asks for. Raises ``Forbidden``."""
        if self.caller is None or not self.caller.may_call_all:
            raise Forbidden('this key cannot read the metrics: that takes one with models = ["*"]')
        services = self.services
        facts = Facts(
            services.catalog.age_seconds,
            services.credentials.expires,
            services.certificate_expires,
            services.limits.is_backend_up,
        )
        accept = self.request.headers.get("accept", "")
        text, content_type = await services.exposition.render(accept, facts)
        self.set_header("Content-Type", content_type)
        self.write(text)
