"""A container with the demo's chat model, which speaks as vLLM does on /invocations."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.emulator.containers import openai_shapes as shapes
from tests.emulator.containers.chat_model import ChatModel, RequestError

_MOST_BODY_BYTES = 64 * 1024 * 1024


class ChatContainer:
    """Speaks HTTP for a chat model, pausing before each token as a real one would."""

    def __init__(self, served_names: tuple[str, ...], token_delay: float) -> None:
        self._model = ChatModel(served_names)
        self._token_delay = token_delay

    async def ping(self, request: web.Request) -> web.Response:
        """Say that the container is well."""
        return web.Response()

    async def invocations(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat or a completion, told apart by what the body has."""
        raw = await request.read()
        try:
            body = _parse(request, raw)
            if "messages" in body:
                return await self._chat(request, body, shapes.identifier("chatcmpl", raw))
            if "prompt" in body:
                return await self._complete(request, body, shapes.identifier("cmpl", raw))
            message = "Cannot find suitable handler for request: send `messages` or `prompt`."
            raise RequestError(400, "BadRequestError", message)
        except RequestError as exc:
            answer = shapes.error(exc.status, exc.kind, str(exc), exc.param)
            return _json(answer, status=exc.status)

    async def _chat(
        self, request: web.Request, body: dict[str, Any], request_id: str
    ) -> web.StreamResponse:
        reply = self._model.chat(body)
        if body.get("stream"):
            chunks = shapes.chat_chunks(reply, request_id, include_usage=_wants_usage(body))
            return await self._stream(request, chunks)
        await asyncio.sleep(self._token_delay * reply.usage.completion)
        return _json(shapes.chat_completion(reply, request_id))

    async def _complete(
        self, request: web.Request, body: dict[str, Any], request_id: str
    ) -> web.StreamResponse:
        replies = self._model.complete(body)
        if body.get("stream"):
            chunks = shapes.text_chunks(replies, request_id, include_usage=_wants_usage(body))
            return await self._stream(request, chunks)
        spoken = sum(reply.usage.completion for reply in replies)
        await asyncio.sleep(self._token_delay * spoken)
        return _json(shapes.text_completion(replies, request_id))

    async def _stream(
        self, request: web.Request, chunks: Iterator[shapes.Json]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for chunk in chunks:
            await asyncio.sleep(self._token_delay)
            await response.write(f"data: {shapes.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


def application(
    served_names: tuple[str, ...] = ("demo-chat",), token_delay: float = 0.0
) -> web.Application:
    """Build the container; the delay is in seconds a token."""
    container = ChatContainer(served_names, token_delay)
    app = web.Application(client_max_size=_MOST_BODY_BYTES)
    app.add_routes(
        [web.get("/ping", container.ping), web.post("/invocations", container.invocations)]
    )
    return app


def _parse(request: web.Request, raw: bytes) -> dict[str, Any]:
    if request.content_type != "application/json":
        message = "Unsupported Media Type: Only 'application/json' is allowed"
        raise RequestError(400, "BadRequestError", message)
    try:
        body = json.loads(raw)
    except ValueError as exc:
        raise RequestError(400, "BadRequestError", f"JSON decode error: {exc}") from exc
    if not isinstance(body, dict):
        raise RequestError(400, "BadRequestError", "The body must be a JSON object.")
    return body


def _wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _json(value: shapes.Json, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=shapes.dumps(value).encode(), content_type="application/json"
    )
