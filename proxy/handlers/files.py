"""Public answers that stay as they are for as long as the process runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from http import HTTPStatus

from proxy.handlers.base import BaseHandler


@dataclass(frozen=True, slots=True)
class File:
    """What to send, and its name for clients that have it already."""

    content: bytes = field(repr=False)
    content_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, content_type: str) -> File:
        """The file with this content."""
        return cls(content, content_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class FileHandler(BaseHandler):
    """Public: what it serves is the same for everybody and says nothing of this installation."""

    public = True

    def send_file(self, file: File) -> None:
        """Answer with ``file``, or say that what the client has is still right."""
        self.set_header("Cache-Control", "no-cache")  # that is: to be asked for again
        self.set_header("ETag", file.etag)
        known = self.request.headers.get("if-none-match", "")
        if known == "*" or file.etag in known:
            self.set_status(HTTPStatus.NOT_MODIFIED)
            return
        self.set_header("Content-Type", file.content_type)
        self.write(file.content)
