"""The dialect of containers that speak OpenAI's own schema, as vLLM and SGLang do.

Bodies pass through untouched; this reads only what routing and the log need.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import msgspec

from proxy.errors import InvalidRequest

# "usage" as a key: a quote inside a JSON string would be escaped.
_USAGE = re.compile(rb'(?<!\\)"usage"\s*:\s*(?=\{)')

# Of a long answer this much of the end is kept to look for the usage in.
USAGE_TAIL_BYTES = 16 * 1024

# OpenAI's requests have a few dozen. Each costs microseconds, in which nobody else is served.
_MOST_FIELDS = 10_000


class _Request(msgspec.Struct):
    model: object = None
    stream: object = None


_SPACE = re.compile(rb"[ \t\r\n]*+")
_COLON = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

_values_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_request_decoder = msgspec.json.Decoder(_Request)
_json = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Routing:
    """What a body says about where it goes and how the answer comes back."""

    model: str
    stream: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the container reported them; None where it did not."""

    prompt_tokens: int | None
    completion_tokens: int | None


def read_routing(body: bytes) -> Routing:
    """Read ``model`` and ``stream`` from a request's body. Raises ``InvalidRequest``."""
    try:
        request = _request_decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise InvalidRequest("the request body must be a JSON object") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        reason = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
        raise InvalidRequest(f"the request body is not valid JSON: {reason}") from exc
    if request.model is None:
        raise InvalidRequest(
            "the field 'model' is missing: it names the SageMaker endpoint", param="model"
        )
    if not isinstance(request.model, str):
        raise InvalidRequest("the field 'model' must be a string", param="model")
    if not isinstance(request.stream, bool | None):
        raise InvalidRequest("the field 'stream' must be true or false", param="stream")
    return Routing(request.model, bool(request.stream))


def with_model(body: bytes, model: str) -> bytes:
    """``body`` with ``model`` for its model, and every other byte as it was.

    ``body`` is a JSON object that ``read_routing`` has read. Raises ``InvalidRequest`` if a key is
    in it twice, for then what it means depends on who reads it, if one is no UTF-8, or if there are
    very many.
    """
    try:
        values = _values_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"the request body is not valid JSON: {exc}") from exc
    if len(values) > _MOST_FIELDS:
        raise InvalidRequest(f"the request body has more than {_MOST_FIELDS} fields")
    pieces: list[bytes] = []
    kept = 0
    position = _after(_SPACE, body, 0) + 1  # behind the brace
    for _ in range(len(body)):
        position = _after(_SPACE, body, position)
        key_end = _after(_STRING, body, position)
        key = json.loads(body[position:key_end])
        value = memoryview(values[key])
        position = _after(_COLON, body, key_end)
        end = position + len(value)
        if body[position:end] != value:
            raise InvalidRequest(f"the field {key[:100]!r} is there twice", param=key[:100])
        if key == "model":
            pieces += [body[kept:position], json.dumps(model).encode()]
            kept = end
        position = _after(_SPACE, body, end) + 1
        if body[position - 1 : position] == b"}":
            break
        if body[position - 1 : position] != b",":  # a number of which only the start was equal
            raise InvalidRequest(f"the field {key[:100]!r} is there twice", param=key[:100])
    return b"".join([*pieces, body[kept:]])


def _after(pattern: re.Pattern[bytes], body: bytes, position: int) -> int:
    match = pattern.match(body, position)
    return match.end() if match else position


def read_usage(data: bytes) -> Usage | None:
    """The last ``usage`` object in an answer, or in events of a stream; None without one."""
    starts = [match.end() for match in _USAGE.finditer(data)]
    if not starts:
        return None
    try:
        usage, _ = _json.raw_decode(data[starts[-1] :].decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return Usage(
        prompt if isinstance(prompt, int) else None,
        completion if isinstance(completion, int) else None,
    )
