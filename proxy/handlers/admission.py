"""Who is let in, and what is too large: all that is decided before a body is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from proxy.config import ServerConfig
from proxy.errors import (
    HeadersTooLarge,
    InvalidKey,
    MethodNotAllowed,
    RateLimited,
    RequestTooLarge,
)
from proxy.handlers.services import Services
from proxy.keys import Caller

_CORS_MAX_AGE_SECONDS = "600"

_SHOWN_METHOD_CHARACTERS = 20


def authenticate(request: HTTPServerRequest, services: Services) -> Caller:
    """The caller whose key the request brings.

    Raises ``InvalidKey``, and ``RateLimited`` in its place when many wrong ones have come from the
    address. A right one is let in all the same: an address may be that of many clients, and no
    number of guesses finds a UUID4.
    """
    headers = request.headers
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    offered = [headers.get("X-API-Key", ""), bearer if scheme.lower() == "bearer" else ""]
    for key in filter(None, offered):
        if caller := services.keys.find(key):
            return caller
    if any(offered) and (seconds := services.guesses.note(request.remote_ip or "")):
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


def check_headers(request: HTTPServerRequest, server: ServerConfig) -> None:
    """Raise ``HeadersTooLarge`` if they are over their bound."""
    size = len(request.uri or "") + len(request.method or "")
    size += sum(len(name) + len(value) + 4 for name, value in request.headers.get_all())
    if size > server.max_header_bytes:
        raise HeadersTooLarge(
            f"the request line and headers are {size} bytes; "
            f"at most {server.max_header_bytes} are allowed"
        )


def check_announced_body(headers: HTTPHeaders, server: ServerConfig) -> None:
    """Raise ``RequestTooLarge`` if the body is known to be over its bound."""
    length = headers.get("Content-Length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > server.max_body_bytes):
        raise request_too_large(server)


def request_too_large(server: ServerConfig) -> RequestTooLarge:
    """The error for a body over its bound."""
    return RequestTooLarge(f"the request body is over the limit of {server.max_body_bytes} bytes")


def method_not_allowed(method: str | None, allowed: Sequence[str]) -> MethodNotAllowed:
    """The error for a method that a route does not have."""
    return MethodNotAllowed(
        f"{(method or '')[:_SHOWN_METHOD_CHARACTERS]} is not allowed here; "
        f"use {' or '.join(allowed)}",
        headers={"Allow": allow(allowed)},
    )


def allow(methods: Sequence[str]) -> str:
    """The value of an ``Allow`` header."""
    return ", ".join((*methods, "OPTIONS"))


def awaits_body(headers: HTTPHeaders) -> bool:
    """Whether a body follows the headers."""
    return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers


def cors_headers(
    request: HTTPServerRequest, origins: Sequence[str], methods: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """The headers that let a browser's page of an allowed origin read the answer."""
    if not origins:
        return
    yield "Vary", "Origin"
    origin = request.headers.get("Origin", "")
    if origin and (origin in origins or "*" in origins):
        yield "Access-Control-Allow-Origin", origin
        yield "Access-Control-Expose-Headers", "x-request-id, retry-after, location"
        if request.method == "OPTIONS":
            asked = request.headers.get("Access-Control-Request-Headers", "")
            yield "Access-Control-Allow-Methods", allow(methods)
            yield "Access-Control-Allow-Headers", asked
            yield "Access-Control-Max-Age", _CORS_MAX_AGE_SECONDS
