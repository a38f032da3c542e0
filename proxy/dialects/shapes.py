"""OpenAI's answers: completions and their chunks, embeddings, and the rerank that others add."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from proxy import sse
from proxy.dialects.base import Operation, Usage

Json = dict[str, object]

DONE = sse.event(b"[DONE]")

_PREFIX = {Operation.CHAT: "chatcmpl", Operation.COMPLETIONS: "cmpl"}

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Head:
    """What all pieces of one answer to a chat or a completion share."""

    operation: Operation
    id: str
    created: int
    model: str

    @classmethod
    def new(cls, operation: Operation, model: str) -> Head:
        """The head of an answer that begins now, under the name that the client knows."""
        return cls(operation, f"{_PREFIX[operation]}-{uuid.uuid4().hex}", int(time.time()), model)

    def whole(self, texts: Sequence[tuple[str, str]], usage: Usage | None) -> bytes:
        """A whole answer out of each choice's text and finish reason."""
        chat = self.operation is Operation.CHAT
        choice = _chat_choice if chat else _text_choice
        answer = self._json("chat.completion" if chat else "text_completion")
        answer["choices"] = [choice(index, *text) for index, text in enumerate(texts)]
        if counts := usage_json(usage):
            answer["usage"] = counts
        return encode(answer)

    def role(self, include_usage: bool) -> bytes:
        """The event that begins a streamed chat; a completion has none."""
        if self.operation is not Operation.CHAT:
            return b""
        delta: Json = {"role": "assistant", "content": "", "refusal": None}
        return self._chunk(_delta(delta, None), include_usage)

    def text(self, text: str, include_usage: bool) -> bytes:
        """The event with more of the text."""
        if self.operation is Operation.CHAT:
            return self._chunk(_delta({"content": text}, None), include_usage)
        return self._chunk(_text_choice(0, text, None), include_usage)

    def finish(self, reason: str, include_usage: bool) -> bytes:
        """The event that ends the text."""
        if self.operation is Operation.CHAT:
            return self._chunk(_delta({}, reason), include_usage)
        return self._chunk(_text_choice(0, "", reason), include_usage)

    def usage(self, usage: Usage | None) -> bytes:
        """The event with the usage; none where the container does not tell it."""
        counts = usage_json(usage)
        if counts is None:
            return b""
        return sse.event(encode({**self._chunk_json(), "choices": [], "usage": counts}))

    def _chunk(self, choice: Json, include_usage: bool) -> bytes:
        chunk = {**self._chunk_json(), "choices": [choice]}
        if include_usage:
            chunk["usage"] = None
        return sse.event(encode(chunk))

    def _chunk_json(self) -> Json:
        chat = self.operation is Operation.CHAT
        return self._json("chat.completion.chunk" if chat else "text_completion")

    def _json(self, kind: str) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage_json(usage: Usage | None) -> Json | None:
    """OpenAI's usage object; None unless both counts are known, for it has no place for a gap."""
    if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def embeddings(vectors: Sequence[str | msgspec.Raw], model: str) -> bytes:
    """The answer to a request for embeddings; each vector is in base64, or JSON."""
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors)
    ]
    return encode({"object": "list", "data": data, "model": model})


def rerank(results: Sequence[tuple[int, float, str | None]], model: str) -> bytes:
    """The answer to a rerank, in the shape of Jina and vLLM: index, relevance and document."""
    rendered: list[Json] = []
    for index, score, document in results:
        result: Json = {"index": index, "relevance_score": score}
        if document is not None:
            result["document"] = {"text": document}
        rendered.append(result)
    return encode({"id": f"rerank-{uuid.uuid4().hex}", "model": model, "results": rendered})


def _chat_choice(index: int, text: str, finish_reason: str) -> Json:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason}


def _text_choice(index: int, text: str, finish_reason: str | None) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _delta(delta: Json, finish_reason: str | None) -> Json:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
