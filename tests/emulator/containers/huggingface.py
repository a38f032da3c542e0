"""A container that speaks as Hugging Face's inference toolkit does: a pipeline, by its task."""

import json
from typing import Any

from aiohttp import web

from tests.emulator.containers import wording
from tests.emulator.containers.tei import vector
from tests.emulator.containers.writer import number, write

_DEFAULT_TOKENS = 20

_GENERATION = frozenset(
    {
        "do_sample",
        "max_new_tokens",
        "num_return_sequences",
        "repetition_penalty",
        "return_full_text",
        "temperature",
        "top_k",
        "top_p",
    }
)


class HuggingFaceContainer:
    """Runs one pipeline. Whatever it can't take is status 400, as in the toolkit's handler."""

    def __init__(self, task: str) -> None:
        pipelines = {"text-generation": _generate, "feature-extraction": _extract}
        self._pipeline = pipelines[task]

    async def ping(self, request: web.Request) -> web.Response:
        """Say that the container is well."""
        return web.Response()

    async def invocations(self, request: web.Request) -> web.Response:
        """Answer the inputs, one or a list."""
        try:
            body = json.loads(await request.read())
            inputs, parameters = body.get("inputs", body), body.get("parameters") or {}
            if isinstance(inputs, list):
                return web.json_response([self._pipeline(item, parameters) for item in inputs])
            return web.json_response(self._pipeline(inputs, parameters))
        except (ValueError, TypeError, AttributeError) as exc:
            error = {"code": 400, "type": "InternalServerException", "message": str(exc)}
            return web.json_response(error, status=400)


def application(task: str = "text-generation") -> web.Application:
    """Build the container; its task is text-generation or feature-extraction."""
    container = HuggingFaceContainer(task)
    app = web.Application()
    app.add_routes(
        [web.get("/ping", container.ping), web.post("/invocations", container.invocations)]
    )
    return app


def token_vectors(text: str) -> list[list[float]]:
    """The vectors of a text's tokens."""
    return [vector(token) for token in wording.tokens(text)]


def _generate(text: Any, parameters: dict[str, Any]) -> list[dict[str, str]]:
    if not isinstance(text, str):
        raise TypeError("text-generation takes texts")
    if unknown := sorted(parameters.keys() - _GENERATION):
        raise ValueError(f"The following `model_kwargs` are not used by the model: {unknown}")
    limit = int(number(parameters, "max_new_tokens", _DEFAULT_TOKENS))
    prompt = text if parameters.get("return_full_text", True) else ""
    return [{"generated_text": prompt + write(text, limit, ()).text}]


def _extract(text: Any, parameters: dict[str, Any]) -> list[list[list[float]]]:
    if not isinstance(text, str):
        raise TypeError("feature-extraction takes texts")
    if parameters:
        raise TypeError(f"_sanitize_parameters() got an unexpected argument {list(parameters)}")
    return [token_vectors(text)]
