"""Pages for a browser, with what they load: shipped files, served as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from proxy.errors import RouteNotFound
from proxy.handlers.files import File, FileHandler

_ASSETS = Path(__file__).parent.parent / "assets"

HTML = "text/html; charset=utf-8"
CSS = "text/css; charset=utf-8"
JAVASCRIPT = "text/javascript; charset=utf-8"
TEXT = "text/plain; charset=utf-8"

# A page gets everything from here and calls nobody else.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@dataclass(frozen=True, eq=False)
class Page:
    """``NAME.html`` in the assets' folder ``NAME``, and the files beside it that are served.

    ``files`` has each one's content type; ``policy`` is what else a browser is to bound, or allow.
    """

    name: str
    files: Mapping[str, str]
    policy: Mapping[str, str]

    @property
    def html(self) -> str:
        """The page's own file."""
        return f"{self.name}.html"

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return _ASSETS / self.name


class PageHandler(FileHandler):
    """The page itself."""

    page: ClassVar[Page]

    async def respond(self, *path: str) -> None:
        """Send it, and have the browser bound what it may do."""
        policy = {**_POLICY, **self.page.policy}
        self.set_header("Content-Security-Policy", "; ".join(map(" ".join, policy.items())))
        self.set_header("Referrer-Policy", "no-referrer")
        self.send_file(await asyncio.to_thread(_read, self.page.folder / self.page.html, HTML))


class PageFileHandler(FileHandler):
    """What the page loads."""

    page: ClassVar[Page]

    async def respond(self, *path: str) -> None:
        """Send one of the page's files; nothing else is served."""
        content_type = self.page.files.get(path[0])
        if content_type is None:
            raise RouteNotFound("the page has no such file")
        self.send_file(await asyncio.to_thread(_read, self.page.folder / path[0], content_type))


@cache
def _read(file: Path, content_type: str) -> File:
    return File.of(file.read_bytes(), content_type)
