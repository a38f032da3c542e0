"""A container that speaks as Hugging Face's Text Embeddings Inference does: embeds or reranks."""

import json
from hashlib import sha256
from typing import Any

from aiohttp import web

from tests.emulator.containers import wording

_DIMENSIONS = 8


class _RefusedError(Exception):
    """A request that TEI refuses."""

    def __init__(self, status: int, message: str, kind: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class TEIContainer:
    """Does what its model is made for, whatever the path is."""

    def __init__(self, task: str, max_client_batch_size: int) -> None:
        self._answer = {"embed": self._embed, "rerank": self._rerank}[task]
        self._most = max_client_batch_size

    async def ping(self, request: web.Request) -> web.Response:
        """Say that the container is well."""
        return web.Response()

    async def invocations(self, request: web.Request) -> web.Response:
        """Answer one batch."""
        try:
            body = json.loads(await request.read())
            return web.json_response(self._answer(body))
        except (ValueError, KeyError, TypeError) as exc:
            text = f"Failed to deserialize the JSON body into the target type: {exc}"
            return web.Response(status=422, text=text)
        except _RefusedError as exc:
            error = {"error": str(exc), "error_type": exc.kind}
            return web.json_response(error, status=exc.status)

    def _embed(self, body: dict[str, Any]) -> list[list[float]]:
        inputs = body["inputs"]
        single = isinstance(inputs, str) or isinstance(inputs[0], int)
        batch = [inputs] if single else inputs
        self._check(batch)
        return [vector(text, body.get("dimensions") or _DIMENSIONS) for text in batch]

    def _rerank(self, body: dict[str, Any]) -> list[dict[str, float]]:
        self._check(body["texts"])
        ranks = [
            {"index": index, "score": score(body["query"], text)}
            for index, text in enumerate(body["texts"])
        ]
        return sorted(ranks, key=lambda rank: -rank["score"])

    def _check(self, batch: list[Any]) -> None:
        if not batch:
            raise _RefusedError(400, "`inputs` cannot be empty", "Empty")
        if len(batch) > self._most:
            message = f"batch size {len(batch)} > maximum allowed batch size {self._most}"
            raise _RefusedError(413, message, "Validation")


def application(task: str = "embed", max_client_batch_size: int = 32) -> web.Application:
    """Build the container; its task is embed or rerank."""
    container = TEIContainer(task, max_client_batch_size)
    app = web.Application()
    app.add_routes(
        [web.get("/ping", container.ping), web.post("/invocations", container.invocations)]
    )
    return app


def vector(text: object, dimensions: int = _DIMENSIONS) -> list[float]:
    """A vector that depends on the text alone; each number is one of four bytes too."""
    digest = sha256(json.dumps(text).encode()).digest()
    return [byte / 256 - 0.5 for byte in digest[: int(dimensions)]]


def score(query: str, text: str) -> float:
    """The share of the query's words that the text has too."""
    words = {word.strip().lower() for word in wording.tokens(query)}
    shared = words & {word.strip().lower() for word in wording.tokens(text)}
    return len(shared) / len(words)
