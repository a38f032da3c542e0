"""Decodes the JSON object that a request's body is, or says why it is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from proxy.errors import InvalidRequest

T = TypeVar("T")

# OpenAI's requests have a few dozen fields with names of a few letters. While a body is read,
# nobody else is served.
MOST_FIELDS = 1_000
LONGEST_NAME = 500

# Of lists and objects, in a value that is decoded. Those in its texts count too, for that is cheap
# to tell, and a text of so many is longer than models read.
MOST_PARTS = 100_000

_OBJECT = re.compile(rb"[ \t\r\n]*+\{")
_WRONG_FIELD = re.compile(r"`\$\.(\w+)`$")


class _Key(str):
    __slots__ = ()


def decode(
    decoder: msgspec.json.Decoder[T], body: bytes, kinds: Mapping[str, str] = MappingProxyType({})
) -> T:
    """What ``decoder`` makes of an object. ``kinds`` says what its fields must be.

    Raises ``InvalidRequest``.
    """
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise _invalid(body, exc, kinds) from exc


def decode_values(body: bytes) -> dict[str, msgspec.Raw]:
    """Every field's value as its bytes, in order.

    Raises ``InvalidRequest`` if ``body`` is no JSON object, if a field is in it twice, for then
    what it means depends on who reads it, or if there are very many.
    """
    values: dict[Any, msgspec.Raw] = decode(
        msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=_Keys().take), body
    )
    return values


def decode_value(name: str, value: msgspec.Raw) -> object:
    """The value of the field ``name``. Raises ``InvalidRequest``, also if it is very complex."""
    data = bytes(value)
    if data.count(b"[") + data.count(b"{") > MOST_PARTS:
        message = f"the field {name[:100]!r} has more than {MOST_PARTS} lists and objects"
        raise InvalidRequest(message, param=name[:100])
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        message = f"the field {name[:100]!r} cannot be read: {_reason(exc)}"
        raise InvalidRequest(message, param=name[:100]) from exc


class _Keys:
    """The keys of one object, looked at while it is decoded: a bad body costs no more than that."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def take(self, _kind: type, name: str) -> _Key:
        if name in self._seen:
            raise InvalidRequest(f"the field {name[:100]!r} is there twice", param=name[:100])
        if len(self._seen) == MOST_FIELDS:
            raise InvalidRequest(f"the request body has more than {MOST_FIELDS} fields")
        if len(name) > LONGEST_NAME:
            raise InvalidRequest(f"a field's name has more than {LONGEST_NAME} characters")
        self._seen.add(name)
        return _Key(name)


def _invalid(body: bytes, exc: Exception, kinds: Mapping[str, str]) -> InvalidRequest:
    if not isinstance(exc, msgspec.ValidationError):
        return InvalidRequest(f"the request body is not valid JSON: {_reason(exc)}")
    if not _OBJECT.match(body):
        return InvalidRequest("the request body must be a JSON object")
    name = found[1] if (found := _WRONG_FIELD.search(str(exc))) else ""
    if kind := kinds.get(name):
        return InvalidRequest(f"the field {name!r} must be {kind}", param=name)
    return InvalidRequest(f"the request body has a value that cannot be read: {exc}")


def _reason(exc: Exception) -> str:
    return "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
