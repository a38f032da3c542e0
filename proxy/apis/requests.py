"""Decodes a request of an API by its schema, and names the field that is wrong or unknown.

A schema is a tree of ``msgspec.Struct`` that forbid unknown fields: what it does not have cannot be
translated, and is refused.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from proxy.dialects.bodies import LONGEST_NAME, MOST_PARTS
from proxy.errors import InvalidRequest

T = TypeVar("T")

_PLACE = re.compile(r" - at `(?:\$|key in \$)\.?([^`]*)`$")
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.*)`$")
_BAD_VALUE = re.compile(r"^Invalid (?:enum )?value (.*)$", re.DOTALL)

# A field that is known, but may not be used.
_ONLY_NULL = "Expected `null`, got"


def decode_request(decoder: msgspec.json.Decoder[T], body: bytes, place: str = "") -> T:
    """What ``decoder`` makes of ``body``, which is a request or what is at ``place`` in it.

    Raises ``InvalidRequest`` with the place in ``param``, such as ``messages.0.content.2.type``.
    """
    if body.count(b"[") + body.count(b"{") > MOST_PARTS:
        raise InvalidRequest(f"the request body has more than {MOST_PARTS} lists and objects")
    try:
        if not body.isascii():
            body.decode()  # for what is passed on as it is, the decoder does not look into
        return decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise _misfit(str(exc), place) from exc
    except RecursionError as exc:
        raise InvalidRequest("the request body is nested too deeply") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"the request body is not valid JSON: {exc}") from exc


def unsupported(param: str, why: str = "it has no counterpart in a chat") -> InvalidRequest:
    """The error for a field that cannot be translated."""
    return InvalidRequest(f"{param} is not supported: {why}", param=param)


def _misfit(said: str, place: str) -> InvalidRequest:
    if found := _PLACE.search(said):
        said, within = said[: found.start()], _INDEX.sub(r".\1", found[1]).lstrip(".")
        place = _join(place, within) if within else place
    if found := _UNKNOWN.match(said):
        return unsupported(_join(place, found[1]))
    if found := _MISSING.match(said):
        param = _join(place, found[1])
        return InvalidRequest(f"{param} is missing", param=param)
    param = place[:LONGEST_NAME]
    if said.startswith(_ONLY_NULL):
        return unsupported(param)
    if found := _BAD_VALUE.match(said):
        return unsupported(param, f"its value {found[1][:LONGEST_NAME]} cannot be translated")
    if not param:
        return InvalidRequest(f"the request body cannot be read: {said}")
    return InvalidRequest(f"{param} cannot be read: {said}", param=param)


def _join(place: str, name: str) -> str:
    return (f"{place}.{name}" if place else name)[:LONGEST_NAME]
