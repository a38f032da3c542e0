"""``/healthz`` and ``/readyz``: for systemd, load balancers and people."""

from __future__ import annotations

from http import HTTPStatus

from proxy.catalog import Catalog
from proxy.handlers.base import BaseHandler


class HealthHandler(BaseHandler):
    """``GET /healthz``. Public: it says nothing but that the process answers."""

    public = True

    async def respond(self, *path: str) -> None:
        """The process is alive."""
        self.write_json({"status": "ok"})


class ReadyHandler(BaseHandler):
    """``GET /readyz``. Public: a load balancer has no key, and the reasons name no account."""

    public = True

    async def respond(self, *path: str) -> None:
        """Whether to send requests here, and if not, why."""
        services = self.services
        reasons = [
            reason
            for applies, reason in (
                (services.state.draining, "the server is shutting down"),
                (services.state.leaving, "the operator has taken it out of service"),
                (services.credentials.current is None, "no valid AWS credentials"),
                (not services.catalog.loaded, "the endpoints have not been listed yet"),
            )
            if applies
        ]
        details = {"catalog": _catalog_state(services.catalog)}
        if reasons:
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
            self.write_json({"status": "unavailable", "reasons": reasons, **details})
        else:
            self.write_json({"status": "ready", **details})


def _catalog_state(catalog: Catalog) -> str:
    if catalog.problem:
        return "stale"
    if not catalog.loaded:
        return "loading"
    return "fresh" if catalog.whole else "without inference components"
