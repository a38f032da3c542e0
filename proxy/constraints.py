"""What the value of a setting has to be: each check says what is wrong with one, or None."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from proxy.locations import Location
from proxy.names import is_endpoint_name

# Names that model hubs and OpenAI's clients use.
_MODEL_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._:/@-]{0,98}[a-zA-Z0-9])?", re.ASCII)

# Of the keys' limits: this host alone, or a server for several.
LOCAL = "local"
_BACKENDS = ("valkey", "valkeys", "redis", "rediss")


def at_least(minimum: float) -> Callable[[Any], str | None]:
    """No less than ``minimum``."""
    return lambda value: None if value >= minimum else f"must be at least {minimum:g}"


def above_zero(value: Any) -> str | None:
    """More than nothing."""
    return None if value > 0 else "must be above 0"


def port(value: Any) -> str | None:
    """A port, or 0 for any."""
    return None if 0 <= value <= 65535 else "must be between 0 and 65535 (0: any free port)"


def endpoint_name(value: Any) -> str | None:
    """An endpoint's name."""
    return None if is_endpoint_name(value) else "must be the name of an endpoint"


def model_name(value: Any) -> str | None:
    """A name that an alias may have."""
    valid = _MODEL_NAME.fullmatch(value)
    return None if valid else "must be letters and digits, with . _ : / @ - between them"


def component_name(value: Any) -> str | None:
    """An inference component's name, or none."""
    valid = not value or is_endpoint_name(value)
    return None if valid else "must be the name of an inference component"


def one_of(names: Iterable[str]) -> Callable[[Any], str | None]:
    """One of ``names``, or none."""
    known = sorted(names)
    return lambda value: None if value in ("", *known) else f"must be one of {', '.join(known)}"


def folder(value: Any) -> str | None:
    """A folder in S3, or none."""
    try:
        Location.parse(value + "name")
    except ValueError:
        fits = False
    else:
        fits = value.endswith("/")
    return None if fits or not value else "must be a folder in S3, such as s3://bucket/inputs/"


def seal_key(value: Any) -> str | None:
    """A key in hex, or none."""
    fits = not value or re.fullmatch(r"[0-9a-fA-F]{64}", value)
    return None if fits else "must be 64 hexadecimal digits, as openssl rand -hex 32 makes them"


def backend(value: Any) -> str | None:
    """Where limits are counted."""
    with suppress(ValueError):  # of a port that is none
        parts = urlsplit(value)
        is_url = parts.scheme in _BACKENDS and parts.hostname and parts.port != 0
        if value == LOCAL or (is_url and re.fullmatch(r"(/\d*)?", parts.path)):
            return None
    return f'must be "{LOCAL}" or a URL such as "valkey://host:6379"'


def otlp_endpoint(value: Any) -> str | None:
    """A collector of OpenTelemetry, or none."""
    with suppress(ValueError):  # of a port that is none
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        ends = parts.query or parts.fragment or parts.path.rstrip("/").endswith("/v1/traces")
        if not value or (is_url and not ends):
            return None
    return 'must be a URL such as "http://localhost:4318", to which /v1/traces is added'


def share(value: Any) -> str | None:
    """A part of one."""
    return None if 0 <= value <= 1 else "must be between 0 and 1"


def origins(value: Any) -> str | None:
    """Origins of browsers' pages, or any."""
    for origin in value:
        if origin != "*" and not _is_origin(origin):
            return f'{origin!r} is no origin such as "https://app.example.com", nor "*"'
    return None


def _is_origin(origin: str) -> bool:
    with suppress(ValueError):  # of a host that is none
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and origin == f"{parts.scheme}://{parts.netloc}"
    return False
