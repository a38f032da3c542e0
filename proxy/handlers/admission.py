"""Who is let in, and what is too large: all that is decided before a body is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from proxy.config import ServerConfig
from proxy.errors import (
    HeadersTooLarge,
    InvalidKey,
    MethodNotAllowed,
    RateLimited,
    RequestTooLarge,
)
from proxy.handlers.services import Services
from proxy.http_request import Request
from proxy.keys import Caller

_CORS_MAX_AGE_SECONDS = "600"

_SHOWN_METHOD_CHARACTERS = 20


def authenticate(request: Request, services: Services) -> Caller:
    """The caller whose key the request brings.

    Raises ``InvalidKey``, and ``RateLimited`` in its place when many wrong ones have come from the
    address. A right one is let in all the same: an address may be that of many clients, and no
    number of guesses finds a UUID4.
    """
    headers = request.headers
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    offered = [headers.get("x-api-key", ""), bearer if scheme.lower() == "bearer" else ""]
    for key in filter(None, offered):
        if caller := services.keys.find(key):
            return caller
    if any(offered) and (seconds := services.guesses.note(request.remote_ip)):
        services.metrics.limited("guesses")
        raise RateLimited(
            f"too many wrong API keys from your address; try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )
    raise InvalidKey(
        "the API key is not valid"
        if any(offered)
        else "an API key is needed: send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
        headers={"WWW-Authenticate": "Bearer"},
    )


def check_headers(request: Request, server: ServerConfig) -> None:
    """Raise ``HeadersTooLarge`` if they are over their bound."""
    if request.head_bytes > server.max_header_bytes:
        raise HeadersTooLarge(
            f"the request line and headers are {request.head_bytes} bytes; "
            f"at most {server.max_header_bytes} are allowed"
        )


def check_announced_body(headers: Mapping[str, str], server: ServerConfig) -> None:
    """Raise ``RequestTooLarge`` if the body is known to be over its bound."""
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > server.max_body_bytes):
        raise request_too_large(server)


def request_too_large(server: ServerConfig) -> RequestTooLarge:
    """The error for a body over its bound."""
    return RequestTooLarge(f"the request body is over the limit of {server.max_body_bytes} bytes")


def method_not_allowed(method: str, allowed: Sequence[str]) -> MethodNotAllowed:
    """The error for a method that a route does not have."""
    return MethodNotAllowed(
        f"{method[:_SHOWN_METHOD_CHARACTERS]} is not allowed here; use {' or '.join(allowed)}",
        headers={"Allow": allow(allowed)},
    )


def allow(methods: Sequence[str]) -> str:
    """The value of an ``Allow`` header."""
    return ", ".join((*methods, "OPTIONS"))


def awaits_body(headers: Mapping[str, str]) -> bool:
    """Whether a body follows the headers."""
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def cors_headers(
    request: Request, origins: Sequence[str], methods: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """The headers that let a browser's page of an allowed origin read the answer."""
    if not origins:
        return
    yield "Vary", "Origin"
    origin = request.headers.get("origin", "")
    if origin and (origin in origins or "*" in origins):
        yield "Access-Control-Allow-Origin", origin
        yield "Access-Control-Expose-Headers", "x-request-id, retry-after, location"
        if request.method == "OPTIONS":
            asked = request.headers.get("access-control-request-headers", "")
            yield "Access-Control-Allow-Methods", allow(methods)
            yield "Access-Control-Allow-Headers", asked
            yield "Access-Control-Max-Age", _CORS_MAX_AGE_SECONDS
