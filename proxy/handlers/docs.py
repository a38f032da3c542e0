"""``GET /docs``: a page to read the API's description and to try it, with a key of one's own."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path

from proxy.errors import RouteNotFound
from proxy.handlers.files import File, FileHandler

_FOLDER = Path(__file__).parent.parent / "assets" / "docs"

_PAGE = "docs.html"
_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"

# What the page consists of, and the licences of what is not ours. Nothing else is served.
FILES = {
    "docs.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js.LICENSE.txt": _TEXT,
    "swagger-ui.css": "text/css; charset=utf-8",
    "LICENSE": _TEXT,
    "NOTICE": _TEXT,
}

# The page gets everything from here and calls nobody else. Swagger UI's icons are data.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class DocsHandler(FileHandler):
    """The page itself."""

    async def respond(self, *path: str) -> None:
        """Send it, and have the browser bound what it may do."""
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.send_file(await asyncio.to_thread(_read, _PAGE, _HTML))


class DocsFileHandler(FileHandler):
    """``GET /docs/{file}``: what the page loads."""

    async def respond(self, *path: str) -> None:
        """Send one of ``FILES``."""
        content_type = FILES.get(path[0])
        if content_type is None:
            raise RouteNotFound("the page has no such file")
        self.send_file(await asyncio.to_thread(_read, path[0], content_type))


@cache
def _read(name: str, content_type: str) -> File:
    return File.of((_FOLDER / name).read_bytes(), content_type)
