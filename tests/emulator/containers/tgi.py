"""A container that speaks as Hugging Face's Text Generation Inference does: inputs, parameters."""

import json
from typing import Any

from aiohttp import web

from tests.emulator.containers.writer import Written, number, write

_DEFAULT_TOKENS = 100
_MOST_STOPS = 4


class _RefusedError(Exception):
    """A request that TGI's validation refuses."""


class TGIContainer:
    """Validates and writes; ``fails_after`` so many tokens, it reports a failure."""

    def __init__(self, fails_after: int | None) -> None:
        self._fails_after = fails_after

    async def ping(self, request: web.Request) -> web.Response:
        """Say that the container is well."""
        return web.Response()

    async def invocations(self, request: web.Request) -> web.StreamResponse:
        """Answer in one piece or by token; a stream is 200 even where the request is refused."""
        try:
            body = json.loads(await request.read())
        except ValueError as exc:
            return web.Response(status=400, text=f"Failed to parse the request body as JSON: {exc}")
        if not isinstance(body, dict) or not isinstance(body.get("inputs"), str):
            return web.Response(
                status=422,
                text="Failed to deserialize the JSON body into the target type: data did not "
                "match any variant of untagged enum SagemakerRequest",
            )
        streams = body.get("stream", False)
        try:
            written = _validated(body)
        except _RefusedError as exc:
            error = {"error": f"Input validation error: {exc}", "error_type": "validation"}
            if streams:
                return await _stream(request, [error])
            return web.json_response(error, status=422)
        if streams:
            return await _stream(request, self._events(written))
        if self._fails_after is not None:
            error = {
                "error": "Request failed during generation: Server error: CUDA out of memory",
                "error_type": "generation",
            }
            return web.json_response(error, status=424)
        return web.json_response([_whole(body, written)])

    def _events(self, written: Written) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = [
            {
                "index": index,
                "token": _token(index, token),
                "generated_text": None,
                "details": None,
            }
            for index, token in enumerate(written.tokens, start=1)
        ]
        if written.finish_reason == "eos_token":
            index = len(events) + 1
            end = {"id": 2, "text": "</s>", "logprob": -0.01, "special": True}
            events.append({"index": index, "token": end})
        events[-1] |= {"generated_text": written.text, "details": _details(written)}
        events[-1]["details"]["input_length"] = written.prompt_tokens
        if self._fails_after is not None:
            error = "Request failed during generation: Server error: CUDA out of memory"
            events[self._fails_after :] = [{"error": error, "error_type": "generation"}]
        return events


def application(fails_after: int | None = None) -> web.Application:
    """Build the container."""
    container = TGIContainer(fails_after)
    app = web.Application()
    app.add_routes(
        [web.get("/ping", container.ping), web.post("/invocations", container.invocations)]
    )
    return app


def _validated(body: dict[str, Any]) -> Written:
    parameters = body.get("parameters") or {}
    stops = parameters.get("stop") or []
    if not body["inputs"]:
        raise _RefusedError("`inputs` cannot be empty")
    if number(parameters, "temperature", 1) <= 0:
        raise _RefusedError("`temperature` must be strictly positive")
    if not 0 < number(parameters, "top_p", 0.5) < 1:
        raise _RefusedError("`top_p` must be > 0.0 and < 1.0")
    if number(parameters, "max_new_tokens", _DEFAULT_TOKENS) <= 0:
        raise _RefusedError("`max_new_tokens` must be strictly positive")
    if len(stops) > _MOST_STOPS:
        raise _RefusedError(
            f"`stop` supports up to {_MOST_STOPS} stop sequences. Given: {len(stops)}"
        )
    limit = int(number(parameters, "max_new_tokens", _DEFAULT_TOKENS))
    return write(body["inputs"], limit, stops)


def _whole(body: dict[str, Any], written: Written) -> dict[str, Any]:
    parameters = body.get("parameters") or {}
    prompt = body["inputs"] if parameters.get("return_full_text") else ""
    answer: dict[str, Any] = {"generated_text": prompt + written.text}
    if parameters.get("details"):
        tokens = [_token(index, token) for index, token in enumerate(written.tokens, start=1)]
        answer["details"] = {**_details(written), "prefill": [], "tokens": tokens}
    return answer


def _details(written: Written) -> dict[str, Any]:
    generated = len(written.tokens) + (written.finish_reason == "eos_token")
    return {"finish_reason": written.finish_reason, "generated_tokens": generated, "seed": None}


def _token(index: int, text: str) -> dict[str, Any]:
    return {"id": 100 + index, "text": text, "logprob": -0.25, "special": False}


async def _stream(request: web.Request, events: list[dict[str, Any]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in events:
        data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        await response.write(f"data:{data}\n\n".encode())
    await response.write_eof()
    return response
