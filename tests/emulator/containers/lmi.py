"""A container that speaks as AWS's Large Model Inference does, on DJL Serving."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from tests.emulator.containers import openai_shapes as shapes
from tests.emulator.containers.chat_model import ChatModel, RequestError
from tests.emulator.containers.writer import Written, number, write

_DEFAULT_TOKENS = 30

_FAILURE: dict[str, Any] = {
    "token": {"id": -1, "text": "", "log_prob": -1, "special_token": True},
    "generated_text": "",
    "details": {"finish_reason": "error", "generated_tokens": None, "inputs": None},
}


class LMIContainer:
    """Tells a chat from text by its fields, and streams lines.

    ``own_words``: as the versions that ended a chat with ``eos_token`` and named no model.
    ``vllm``: as those since 15, which answer texts by vLLM's server and know but their model's
    name. A failure comes ``token_delay`` seconds after the tokens before it.
    """

    def __init__(
        self,
        output_formatter: str,
        own_words: bool,
        vllm: bool,
        fails_after: int | None,
        token_delay: float,
    ) -> None:
        self._model = ChatModel(("lmi",))
        self._prefix, self._end = ("data:", "\n\n") if output_formatter == "sse" else ("", "\n")
        self._content_type = (
            "text/event-stream" if output_formatter == "sse" else "application/jsonlines"
        )
        self._own_words = own_words
        self._vllm = vllm
        self._fails_after = fails_after
        self._token_delay = token_delay

    async def ping(self, request: web.Request) -> web.Response:
        """Say that the container is well."""
        return web.Response()

    async def invocations(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat, or text."""
        raw = await request.read()
        try:
            body = json.loads(raw)
            if "messages" in body:
                return await self._chat(request, body, shapes.identifier("chatcmpl", raw))
            return await self._generate(request, body)
        except (ValueError, KeyError, TypeError, RequestError) as exc:
            return web.json_response({"error": str(exc), "code": 424}, status=424)

    async def _chat(
        self, request: web.Request, body: dict[str, Any], request_id: str
    ) -> web.StreamResponse:
        reply = self._model.chat(body if self._vllm else {**body, "model": ""})
        if not body.get("stream"):
            return web.json_response(self._worded(shapes.chat_completion(reply, request_id)))
        options = body.get("stream_options") or {}
        chunks = shapes.chat_chunks(
            reply, request_id, include_usage=bool(options.get("include_usage"))
        )
        return await self._stream(request, map(self._worded, chunks))

    def _worded(self, answer: dict[str, Any]) -> dict[str, Any]:
        if self._own_words:
            del answer["model"]
            for choice in answer["choices"]:
                if choice["finish_reason"] == "stop":
                    choice["finish_reason"] = "eos_token"
        return answer

    async def _generate(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        parameters = body.get("parameters") or {}
        limit = int(number(parameters, "max_new_tokens", _DEFAULT_TOKENS))
        # The parameters go to vLLM as they are, which has another name for the stop sequences.
        stops = parameters.get("stop" if self._vllm else "stop_sequences") or []
        written = write(body["inputs"], limit, stops)
        if body.get("stream"):
            return await self._stream(request, self._lines(body, written))
        if self._fails_after is not None:
            details = {**_FAILURE["details"], "tokens": None}
            return web.json_response({"generated_text": "", "details": details})
        answer: dict[str, Any] = {"generated_text": written.text}
        if parameters.get("details"):
            answer["details"] = {**self._details(body, written), "tokens": []}
            if self._vllm:
                answer["details"]["finish_reason"] = None
        return web.json_response(answer)

    def _lines(self, body: dict[str, Any], written: Written) -> Iterable[dict[str, Any]]:
        lines: list[dict[str, Any]] = [
            {"token": {"id": 100 + index, "text": text, "log_prob": -0.25}}
            for index, text in enumerate(written.tokens)
        ]
        lines[-1] |= {"generated_text": written.text, "details": self._details(body, written)}
        if self._fails_after is not None:
            lines[self._fails_after :] = [_FAILURE]
        return lines

    def _details(self, body: dict[str, Any], written: Written) -> dict[str, Any]:
        details = {
            "finish_reason": written.finish_reason,
            "generated_tokens": len(written.tokens),
        }
        if self._vllm:
            reason = "length" if written.finish_reason == "length" else "stop"
            return {**details, "finish_reason": reason, "input_length": written.prompt_tokens}
        return {**details, "inputs": body["inputs"]}

    async def _stream(
        self, request: web.Request, lines: Iterable[dict[str, Any]]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": self._content_type})
        await response.prepare(request)
        for line in lines:
            if line is _FAILURE:
                await asyncio.sleep(self._token_delay)
            text = json.dumps(line, ensure_ascii=False)
            await response.write(f"{self._prefix}{text}{self._end}".encode())
        await response.write_eof()
        return response


def application(
    output_formatter: str = "jsonlines",
    *,
    own_words: bool = False,
    vllm: bool = False,
    fails_after: int | None = None,
    token_delay: float = 0.0,
) -> web.Application:
    """Build the container; ``output_formatter`` is DJL's option, jsonlines or sse."""
    container = LMIContainer(output_formatter, own_words, vllm, fails_after, token_delay)
    app = web.Application()
    app.add_routes(
        [web.get("/ping", container.ping), web.post("/invocations", container.invocations)]
    )
    return app
