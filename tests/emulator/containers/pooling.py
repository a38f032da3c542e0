"""A container with a model of vectors, which speaks as vLLM does on /invocations."""

import base64
import json
import struct
from typing import Any

from aiohttp import web

from tests.emulator.containers import wording
from tests.emulator.containers.tei import score, vector


async def _ping(request: web.Request) -> web.Response:
    return web.Response()


async def _invocations(request: web.Request) -> web.Response:
    """Embed or rerank, told apart by what the body has."""
    body = await request.json()
    if body["model"] not in ("", "vectors"):
        error = {"message": f"The model `{body['model']}` does not exist.", "code": 404}
        return web.json_response({"error": error}, status=404)
    if not all(isinstance(document, str) for document in body.get("documents", [])):
        message = "Cannot find suitable handler for request. Expected one of: ['RerankRequest']"
        error = {"message": message, "type": "BadRequestError", "param": None, "code": 400}
        return web.json_response({"error": error}, status=400)
    answer = _rerank(body) if "query" in body else _embed(body)
    return web.json_response({"model": "vectors", **answer})


def _embed(body: dict[str, Any]) -> dict[str, Any]:
    given = body["input"]
    texts = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    vectors = [vector(text, body.get("dimensions") or 8) for text in texts]
    tokens = sum(len(wording.tokens(_text(text))) for text in texts)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _encoded(numbers) if body.get("encoding_format") == "base64" else numbers,
        }
        for index, numbers in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "usage": usage}


def _text(item: Any) -> str:
    """What stands for an input: itself, an object's text, or the numbers of its tokens."""
    if isinstance(item, list):
        return " ".join(map(str, item))
    return str(item["text"] if isinstance(item, dict) else item)


def _encoded(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def _rerank(body: dict[str, Any]) -> dict[str, Any]:
    documents = body["documents"]
    scores = {index: score(body["query"], text) for index, text in enumerate(documents)}
    order = sorted(scores, key=lambda index: -scores[index])
    results = [
        {
            "index": index,
            "relevance_score": scores[index],
            "document": {"text": documents[index]},
        }
        for index in order[: int(body.get("top_n") or 0) or None]
    ]
    tokens = sum(len(wording.tokens(text)) for text in [body["query"], *documents])
    # It asks nothing of the fields that it does not know, and tells no more than this of its use.
    usage = {"total_tokens": tokens}
    return {"id": f"rerank-{len(json.dumps(body))}", "usage": usage, "results": results}


def application() -> web.Application:
    """Build the container."""
    app = web.Application()
    app.add_routes([web.get("/ping", _ping), web.post("/invocations", _invocations)])
    return app
