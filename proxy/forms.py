"""Reads a body that is a form (multipart/form-data, RFC 7578), with bounds on its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tornado.httputil import (
    HTTPFile,
    HTTPInputError,
    ParseMultipartConfig,
    parse_multipart_form_data,
)

from proxy.errors import InvalidRequest

# OpenAI's forms have a dozen fields with short names, and a file's may be long.
MOST_PARTS = 32
MOST_PART_HEAD_BYTES = 4 * 1024

_FORM = re.compile(r"multipart/form-data[ \t]*(?:;|\Z)", re.IGNORECASE)
_BOUNDARY = re.compile(
    r";[ \t]*boundary=(?:\"([^\"]*)\"|([^\s;\"]*))[ \t]*(?=;|\Z)", re.IGNORECASE | re.ASCII
)
_BOUNDARY_CHARACTERS = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")

_SHOWN_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Upload:
    """A file, as its sender describes it: ``content_type`` may be anything."""

    content_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """A form's fields by their names; only one whose name ends in ``[]`` has several values."""

    texts: Mapping[str, list[str]]
    files: Mapping[str, Upload]


def read_form(content_type: str, body: bytes) -> Form:
    """The form that ``body`` is. Raises ``InvalidRequest``.

    A field that is there twice is refused, for then what it means depends on who reads it.
    """
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    bounds = ParseMultipartConfig(max_parts=MOST_PARTS, max_part_header_size=MOST_PART_HEAD_BYTES)
    boundary = _boundary(content_type)
    try:
        parse_multipart_form_data(boundary, body, arguments, files, config=bounds)
    except (HTTPInputError, LookupError, TypeError, ValueError) as exc:
        # All but the first are of parameters that nobody but a bad client writes.
        reason = str(exc) if isinstance(exc, HTTPInputError) else "the head of a part is not valid"
        raise InvalidRequest(f"the form cannot be read: {reason[:_SHOWN_CHARACTERS]}") from exc
    for name in files:
        if len(files[name]) > 1 or name in arguments:
            raise _twice(name)
    texts = {name: [_text(name, value) for value in arguments[name]] for name in arguments}
    for name, values in texts.items():
        if len(values) > 1 and not name.endswith("[]"):
            raise _twice(name)
    uploads = {name: Upload(given.content_type, given.body) for name, (given,) in files.items()}
    return Form(texts, uploads)


def _boundary(content_type: str) -> bytes:
    """What is between the parts. Raises ``InvalidRequest``."""
    if not _FORM.match(content_type):
        raise InvalidRequest(
            "the request body must be a form: its Content-Type, multipart/form-data"
        )
    found = _BOUNDARY.findall(content_type)
    if len(found) != 1:
        raise InvalidRequest("the Content-Type of a form must have one boundary")
    boundary = found[0][0] or found[0][1]
    if not _BOUNDARY_CHARACTERS.fullmatch(boundary):
        raise InvalidRequest(
            "the boundary in the Content-Type must be 1 to 70 of the characters that RFC 2046 has"
        )
    return str(boundary).encode()


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        shown = name[:_SHOWN_CHARACTERS]
        raise InvalidRequest(f"the field {shown!r} must be UTF-8", param=shown) from None


def _twice(name: str) -> InvalidRequest:
    shown = name[:_SHOWN_CHARACTERS]
    return InvalidRequest(f"the field {shown!r} is there twice", param=shown)
