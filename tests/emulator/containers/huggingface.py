"""A container that speaks as Hugging Face's inference toolkit does: a pipeline, by its task."""

import json
from hashlib import sha256
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


# The toolkit knows no other of audio, and takes none of them with a parameter.
_AUDIO_TYPES = ("audio/mpeg", "audio/ogg", "audio/wave", "audio/x-audio", "audio/x-flac")

_MOST_BODY_BYTES = 64 * 1024 * 1024


class HuggingFaceContainer:
    """Runs one pipeline. Whatever it can't take is status 400, as in the toolkit's handler."""

    def __init__(self, task: str) -> None:
        pipelines = {
            "text-generation": _generate,
            "feature-extraction": _extract,
            "automatic-speech-recognition": _transcribe,
        }
        self._pipeline = pipelines[task]

    async def ping(self, request: web.Request) -> web.Response:
        """Say that the container is well."""
        return web.Response()

    async def invocations(self, request: web.Request) -> web.Response:
        """Answer the inputs, one or a list."""
        try:
            body = _decode(await request.read(), request.headers.get("Content-Type", ""))
            inputs, parameters = body.get("inputs", body), body.get("parameters") or {}
            if isinstance(inputs, list):
                return web.json_response([self._pipeline(item, parameters) for item in inputs])
            return web.json_response(self._pipeline(inputs, parameters))
        except (ValueError, TypeError, AttributeError) as exc:
            error = {"code": 400, "type": "InternalServerException", "message": str(exc)}
            return web.json_response(error, status=400)


def application(task: str = "text-generation") -> web.Application:
    """Build the container; its task is one of those whose pipelines are below."""
    container = HuggingFaceContainer(task)
    app = web.Application(client_max_size=_MOST_BODY_BYTES)
    app.add_routes(
        [web.get("/ping", container.ping), web.post("/invocations", container.invocations)]
    )
    return app


def token_vectors(text: str) -> list[list[float]]:
    """The vectors of a text's tokens."""
    return [vector(token) for token in wording.tokens(text)]


def transcript(audio: bytes) -> str:
    """What is heard in any bytes, and in no others."""
    return f"{len(audio)} bytes that nobody else has said: {sha256(audio).hexdigest()}"


def _decode(body: bytes, content_type: str) -> dict[str, Any]:
    if content_type in _AUDIO_TYPES:
        return {"inputs": body}
    if content_type != "application/json":
        raise ValueError(f"Content type {content_type} is not supported by this framework.")
    decoded: dict[str, Any] = json.loads(body)
    return decoded


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


def _transcribe(audio: Any, parameters: dict[str, Any]) -> dict[str, str]:
    if not isinstance(audio, bytes):
        # A text would be the name of a file, or an address.
        raise ValueError("ffmpeg was not found but is required to load audio files from filename")
    return {"text": f" {transcript(audio)}"}
