"""A container in front of any server that speaks OpenAI's API, so it can stand behind an endpoint.

Real containers put their model's server on /invocations; this does the same for one that is
already running somewhere else.
"""

import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import aiohttp
from aiohttp import web

_MOST_BODY_BYTES = 64 * 1024 * 1024
# A model may think for minutes; only a server that can't be reached should fail fast.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=900)
_ROUTES = (
    ("messages", "chat/completions"),
    ("prompt", "completions"),
    ("input", "embeddings"),
)


class _RefusedError(Exception):
    """An answer that the container gives by itself."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OpenAIContainer:
    """Forwards each body to the route its shape belongs to, under the server's own model name."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1"
        self._served_name: str | None = None
        self._session: aiohttp.ClientSession

    async def resources(self, app: web.Application) -> AsyncIterator[None]:
        """Keep a client session for as long as the application runs."""
        self._session = aiohttp.ClientSession(
            timeout=_TIMEOUT,
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding",),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0),
        )
        yield
        await self._session.close()

    async def ping(self, request: web.Request) -> web.Response:
        """Say whether the server answers."""
        try:
            await self._fetch_name()
        except _RefusedError as exc:
            return _error(exc)
        return web.Response()

    async def invocations(self, request: web.Request) -> web.StreamResponse:
        """Forward a body, and its answer as it arrives."""
        try:
            body = _parse(await request.read())
            route = _route(body)
            body["model"] = self._served_name or await self._fetch_name()
            return await self._forward(request, route, body)
        except _RefusedError as exc:
            return _error(exc)

    async def _forward(
        self, request: web.Request, route: str, body: dict[str, Any]
    ) -> web.StreamResponse:
        url = f"{self._url}/{route}"
        try:
            # As a file: aiohttp warns of large bytes, and images in a chat are large.
            answered = await self._session.post(
                url,
                data=BytesIO(json.dumps(body).encode()),
                headers={"Content-Type": "application/json"},
            )
        except (aiohttp.ClientError, TimeoutError) as exc:
            self._served_name = None
            raise self._unreachable(exc) from exc
        async with answered:
            if answered.status >= 400:
                # The server may have been restarted with another model.
                self._served_name = None
            kind = answered.headers.get("Content-Type", "application/json")
            response = web.StreamResponse(status=answered.status, headers={"Content-Type": kind})
            await response.prepare(request)
            try:
                async for chunk in answered.content.iter_any():
                    await response.write(chunk)
            except aiohttp.ClientPayloadError:
                # The server died in mid-answer: ours must not pass for whole either.
                if request.transport is not None:
                    request.transport.close()
                return response
        await response.write_eof()
        return response

    async def _fetch_name(self) -> str:
        try:
            async with self._session.get(f"{self._url}/models") as answered:
                answered.raise_for_status()
                served = await answered.json(content_type=None)
                self._served_name = str(served["data"][0]["id"])
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise self._unreachable(exc) from exc
        except (ValueError, LookupError, TypeError) as exc:
            raise _RefusedError(503, f"{self._url}/models names no model") from exc
        return self._served_name

    def _unreachable(self, exc: Exception) -> _RefusedError:
        return _RefusedError(503, f"No answer from {self._url}: {exc or type(exc).__name__}")


def application(url: str) -> web.Application:
    """Build the container for the server at a URL, with or without /v1 at its end."""
    container = OpenAIContainer(url)
    app = web.Application(client_max_size=_MOST_BODY_BYTES)
    app.cleanup_ctx.append(container.resources)
    app.add_routes(
        [web.get("/ping", container.ping), web.post("/invocations", container.invocations)]
    )
    return app


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError as exc:
        raise _RefusedError(400, f"JSON decode error: {exc}") from exc
    if not isinstance(body, dict):
        raise _RefusedError(400, "The body must be a JSON object.")
    return body


def _route(body: dict[str, Any]) -> str:
    for key, route in _ROUTES:
        if key in body:
            return route
    raise _RefusedError(400, "The body must have `messages`, `prompt` or `input`.")


def _error(exc: _RefusedError) -> web.Response:
    kind = "BadRequestError" if exc.status < 500 else "ServiceUnavailableError"
    error = {"message": str(exc), "type": kind, "param": None, "code": exc.status}
    return web.json_response({"error": error}, status=exc.status)
