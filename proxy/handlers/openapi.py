"""``GET /openapi.json``: the API's description."""

from __future__ import annotations

import asyncio
from functools import cache

from proxy import openapi
from proxy.handlers.base import JSON
from proxy.handlers.files import File, FileHandler


class OpenAPIHandler(FileHandler):
    """The document for programs and for ``/docs``."""

    async def respond(self, *path: str) -> None:
        """Send it; the first request waits for it to be read."""
        self.send_file(await asyncio.to_thread(_file))


@cache
def _file() -> File:
    return File.of(openapi.description_json(), JSON)
