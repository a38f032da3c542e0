"""The dialect of Hugging Face's Text Generation Inference: ``inputs`` and ``parameters``.

Sources: TGI's OpenAPI description (``CompatGenerateRequest``, ``GenerateResponse``,
``StreamResponse``). It returns the stop sequence at the end of the text, and reports even a
refused request inside a stream of status 200.
"""

from __future__ import annotations

from proxy.dialects.base import Operation, Rendered, Settings, Usage, count, refuse_operation
from proxy.dialects.chat_templates import find_template
from proxy.dialects.fields import Fields
from proxy.dialects.generation import Piece, render_text, text_of
from proxy.dialects.shapes import Head
from proxy.dialects.text import read_chat, read_completion

NAME = "tgi"

_OPTIONS = frozenset({"frequency_penalty", "seed"})

# Its default of max_stop_sequences. Any beyond are still cut, only the container writes on.
_MOST_STOPS = 4


def render(body: bytes, operation: Operation, *, model: str, settings: Settings) -> Rendered:
    """A body for each prompt. Raises ``InvalidRequest``."""
    fields = Fields(body, NAME)
    if operation is Operation.CHAT:
        request = read_chat(fields, find_template(settings.chat_template), _OPTIONS)
    elif operation is Operation.COMPLETIONS:
        request = read_completion(fields, _OPTIONS)
    else:
        raise refuse_operation(NAME, operation)
    head = Head.new(operation, model)
    stops = {"stop": request.stops[:_MOST_STOPS]}
    return render_text(NAME, head, request, stops, _read_whole, _read_event)


def _read_whole(said: object) -> Piece:
    answer = said[0] if isinstance(said, list) else said
    if not isinstance(answer, dict):
        raise TypeError("no object")
    text = text_of(answer["generated_text"])
    details = answer.get("details")
    if details is None:
        return Piece(text, "")
    return Piece(text, text_of(details["finish_reason"]), _usage(details))


def _read_event(said: object) -> Piece:
    """One event of a stream: a token, and in the last one the details."""
    if not isinstance(said, dict):
        raise TypeError("no object")
    token = said["token"]
    # The whole text leaves special tokens out, so the stream does.
    text = "" if token.get("special") else text_of(token["text"])
    details = said.get("details")
    if details is None:
        return Piece(text, "" if said.get("generated_text") is not None else None)
    return Piece(text, text_of(details["finish_reason"]), _usage(details))


def _usage(details: dict[str, object]) -> Usage:
    return Usage(count(details.get("input_length")), count(details.get("generated_tokens")))
