"""The dialect of AWS's Large Model Inference containers, which run DJL Serving.

A chat is OpenAI's own, but streamed as JSON lines, and in older versions with words of its own for
the end; text is asked for with ``inputs``. Since version 15, vLLM's server is inside: it wants the
name of its model or an empty one, and its whole answer to a text names as reason what has stopped
it, a text or a token's number, and nothing where that was the limit. Sources: DJL's "LMI handlers
Inference API Schema", "Chat Completions API Schema", and its vLLM handler.
"""

from __future__ import annotations

from functools import partial

import msgspec

from proxy import sse
from proxy.dialects.base import (
    Operation,
    Rendered,
    Settings,
    Stream,
    Usage,
    Whole,
    count,
    refuse_operation,
    unexpected,
)
from proxy.dialects.failures import find_failure
from proxy.dialects.fields import Fields
from proxy.dialects.generation import Piece, TextStream, TextWhole, text_of
from proxy.dialects.lines import DONE, PayloadSplitter
from proxy.dialects.openai import USAGE_TAIL_BYTES, read_stream, read_usage, with_model
from proxy.dialects.shapes import DONE as DONE_EVENT
from proxy.dialects.shapes import Head, Json, encode
from proxy.dialects.text import TextRequest, read_completion
from proxy.errors import UpstreamFailed

NAME = "lmi"

_OPTIONS = frozenset({"frequency_penalty", "presence_penalty", "seed"})

_DEFAULT_TOKENS = 30

# What makes a chat's answer worth a look. A quote inside a string would be escaped.
_OWN_WORDS = (b'"eos_token"', b'"stop_sequence"', b'"error"', b'"logprobs":[', b'"logprobs": [')


def render(body: bytes, operation: Operation, *, model: str, settings: Settings) -> Rendered:
    """A chat as it is, but for the model's name; else a body for each prompt.

    Raises ``InvalidRequest``.
    """
    if operation is Operation.CHAT:
        stream = read_stream(body)
        if settings.served_model is not None:
            body = with_model(body, settings.served_model)
        return Rendered([body], _ChatStream(model) if stream else _ChatWhole(model))
    if operation is not Operation.COMPLETIONS:
        raise refuse_operation(NAME, operation)
    request = read_completion(Fields(body, NAME), _OPTIONS)
    head = Head.new(operation, model)
    bodies = [_body(prompt, request) for prompt in request.prompts]
    if not request.stream:
        read = partial(_read_whole, request.parameters.get("max_new_tokens", _DEFAULT_TOKENS))
        return Rendered(bodies, TextWhole(NAME, head, request.stops, read))
    include = request.include_usage
    return Rendered(
        bodies, TextStream(NAME, head, request.stops, _read_line, include_usage=include)
    )


def _body(prompt: str, request: TextRequest) -> bytes:
    parameters = {**request.parameters, "details": True}
    if request.stops:
        parameters["stop_sequences"] = request.stops
    return encode({"inputs": prompt, "parameters": parameters, "stream": request.stream})


def _read_whole(limit: object, said: object) -> Piece:
    answer = said[0] if isinstance(said, list) else said
    if not isinstance(answer, dict):
        raise TypeError("no object")
    text = text_of(answer["generated_text"])
    reason, usage = _end(answer.get("details") or {})
    if not reason and usage is not None and usage.completion_tokens == limit:
        reason = "length"
    return Piece(text, reason, usage)


def _read_line(said: object) -> Piece:
    if not isinstance(said, dict):
        raise TypeError("no object")
    token = said["token"]
    text = "" if token.get("special_token") else text_of(token["text"])
    details = said.get("details")
    if details is None and said.get("generated_text") is None:
        return Piece(text)
    return Piece(text, *_end(details or {}))


def _end(details: Json) -> tuple[str, Usage | None]:
    reason = details.get("finish_reason") or details.get("finish reason") or ""
    generated = count(details.get("generated_tokens"))
    if generated is None:  # there are no details, or of a failure
        if reason == "error":
            raise UpstreamFailed("the model failed while it wrote the answer")
        return str(reason), None
    return str(reason), Usage(count(details.get("input_length")), generated)


class _ChatWhole(Whole):
    """Passes an answer on as it is, unless it has words of its own or names no model."""

    def __init__(self, model: str) -> None:
        self._model = model

    def read(self, bodies: list[bytes]) -> bytes:
        (body,) = bodies
        self.usage = read_usage(body[-USAGE_TAIL_BYTES:])
        return _in_openai_words(body, self._model)


class _ChatStream(Stream):
    """Makes an event of each line."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._splitter = PayloadSplitter()
        self._has_ended = False

    def _receive(self, payload: bytes) -> None:
        for line in self._splitter.feed(payload):
            self._take(line)

    def _finish(self) -> None:
        for line in self._splitter.flush():
            self._take(line)
        # JSON lines have no mark for the end; the last choice's finish reason must have been it.
        if not self._has_ended:
            raise UpstreamFailed("the model's stream ended before its answer did")
        self._send(DONE_EVENT)

    def _take(self, line: bytes) -> None:
        if line == DONE:
            return
        chunk = _in_openai_words(line, self._model)
        if b'"finish_reason"' in chunk:
            self._has_ended = self._has_ended or _finishes(chunk)
        if b'"usage"' in chunk:
            self.usage = read_usage(chunk) or self.usage
        self._send(sse.event(chunk))


class _Choice(msgspec.Struct):
    finish_reason: object = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    model: object = None


_answer_decoder = msgspec.json.Decoder(_Answer)


def _finishes(chunk: bytes) -> bool:
    choices = _answer_decoder.decode(chunk).choices
    return any(choice.finish_reason is not None for choice in choices)


def _in_openai_words(body: bytes, model: str) -> bytes:
    """An answer or a chunk, bytes as they were where they are OpenAI's. Raises ``ProxyError``."""
    try:
        own_words = any(words in body for words in _OWN_WORDS)
        if not own_words and isinstance(_answer_decoder.decode(body).model, str):
            return body
        answer = msgspec.json.decode(body)
        if (failure := find_failure(answer)) is not None:
            raise failure
        for choice in answer["choices"]:
            _repair(choice)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise unexpected(NAME, "it is no chat completion") from exc
    except (LookupError, TypeError, AttributeError) as exc:
        raise unexpected(NAME, "it has no choices") from exc
    answer.setdefault("model", model)
    return encode(answer)


def _repair(choice: Json) -> None:
    reason = choice.get("finish_reason")
    if reason == "error":
        raise UpstreamFailed("the model failed while it wrote the answer")
    if reason in ("eos_token", "stop_sequence"):
        choice["finish_reason"] = "stop"
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, list):  # in chunks a list around OpenAI's object
        choice["logprobs"] = logprobs[0] if logprobs else None
