"""Reads the fields of a client's request, and refuses those that a dialect can't honour."""

from __future__ import annotations

import math

import msgspec

from proxy.dialects.base import refuse_field
from proxy.dialects.bodies import decode_value, decode_values
from proxy.errors import InvalidRequest

# These change nothing in an answer, or have been read by the time that a dialect is asked.
_OF_NO_CONSEQUENCE = frozenset(
    {
        "metadata",
        "model",
        "parallel_tool_calls",  # where there are tools, those are refused
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "tool_choice",
        "user",
    }
)

# Values with which a field asks for no more than leaving it out. None always does.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "rank_fields": (["text"],),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tools": ([],),
    "top_logprobs": (0,),
}

_MOST_STOPS = 4
_LONGEST_STOP = 1_000

_NULL = b"null"


class Fields:
    """A request's fields. Each is taken once; ``finish`` refuses what is left.

    All that take raise ``InvalidRequest`` with ``param`` naming the field.
    """

    def __init__(self, body: bytes, dialect: str) -> None:
        """Raises ``InvalidRequest`` as ``decode_values`` does."""
        self.dialect = dialect
        self._values: dict[str, msgspec.Raw] = {
            key: value for key, value in decode_values(body).items() if memoryview(value) != _NULL
        }

    def take(self, name: str) -> object:
        """Any value; None if it is missing or null."""
        value = self._values.pop(name, None)
        return None if value is None else decode_value(name, value)

    def take_flag(self, name: str) -> bool:
        """True or false; false if it is missing."""
        value = self.take(name)
        if not isinstance(value, bool | None):
            raise InvalidRequest(f"the field {name!r} must be true or false", param=name)
        return bool(value)

    def take_integer(self, name: str, least: int) -> int | None:
        """A whole number."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidRequest(
                f"the field {name!r} must be a whole number of at least {least}", param=name
            )
        return value

    def take_number(self, name: str, least: float, most: float = math.inf) -> float | None:
        """A number in a range."""
        value = self.take(name)
        if value is None:
            return None
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not least <= value <= most
        ):
            limits = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
            raise InvalidRequest(f"the field {name!r} must be a number {limits}", param=name)
        return value

    def take_text(self, name: str) -> str:
        """A text that must be there and not be empty."""
        value = self.take(name)
        if not isinstance(value, str) or not value:
            raise InvalidRequest(f"the field {name!r} must be a text that is not empty", param=name)
        return value

    def take_stops(self) -> tuple[str, ...]:
        """The stop sequences: none, one, or a few."""
        value = self.take("stop")
        stops = [value] if isinstance(value, str) else [] if value is None else value
        if (
            not isinstance(stops, list)
            or len(stops) > _MOST_STOPS
            or not all(isinstance(stop, str) and 0 < len(stop) <= _LONGEST_STOP for stop in stops)
        ):
            raise InvalidRequest(
                f"the field 'stop' must be a text or a list of up to {_MOST_STOPS}, each of "
                f"1 to {_LONGEST_STOP} characters",
                param="stop",
            )
        return tuple(stops)

    def take_include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        options = self.take("stream_options")
        if options is None:
            return False
        if not isinstance(options, dict):
            raise InvalidRequest(
                "the field 'stream_options' must be an object", param="stream_options"
            )
        return options.get("include_usage") is True

    def finish(self) -> None:
        """Refuse the fields that nobody has taken, unless they ask for nothing."""
        for name, value in self._values.items():
            if name in _OF_NO_CONSEQUENCE:
                continue
            neutrals = _NEUTRAL.get(name, ())
            if not any(_same(decode_value(name, value), neutral) for neutral in neutrals):
                raise self.unsupported(name)

    def unsupported(self, name: str) -> InvalidRequest:
        """The error for a field that the dialect can't honour."""
        return refuse_field(self.dialect, name)


def _same(value: object, neutral: object) -> bool:
    # Python holds 0 and False for the same; ``logprobs`` does not.
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)
