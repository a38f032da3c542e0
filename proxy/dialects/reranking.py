"""Rerank for containers of OpenAI's schema, in Cohere's and Jina's common shape.

vLLM takes documents that are texts, and not objects with a text, as Cohere and Jina take them too;
it answers the texts whether they are wanted or not. All else it has as they do. Sources: vLLM's
protocol, Cohere's and Jina's API references.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from proxy.dialects.base import Relayed, Rendered, Usage, Whole, refuse_field, unexpected
from proxy.dialects.bodies import MOST_PARTS, decode
from proxy.dialects.rewriting import with_values
from proxy.dialects.shapes import encode
from proxy.errors import InvalidRequest

_DIALECT = "openai"

_NONE = msgspec.Raw(b"null")

# In documents of which some are objects. While a list is taken apart, nobody else is served.
_MOST_MARKS = 4 * MOST_PARTS

# What is read of a document that is an object, unless a request says otherwise.
_RANKED = ["text"]


class _Request(msgspec.Struct):
    documents: msgspec.Raw = _NONE
    rank_fields: msgspec.Raw = _NONE
    return_documents: bool | None = None


class _Document(msgspec.Struct):
    text: msgspec.Raw = _NONE


_KINDS = {"return_documents": "true or false"}

_request_decoder = msgspec.json.Decoder(_Request)
_kinds_decoder = msgspec.json.Decoder(list[str | dict[str, msgspec.Raw]])
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_document_decoder = msgspec.json.Decoder(_Document)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_results_decoder = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_usage_decoder = msgspec.json.Decoder(dict[str, object] | None)


def render(body: bytes, new: Mapping[str, bytes]) -> Rendered:
    """The client's bytes, but for the ``new`` values and documents that are objects with a text.

    Raises ``InvalidRequest`` as ``with_values`` does.
    """
    request = decode(_request_decoder, body, _KINDS)
    if texts := _as_texts(request.documents):
        if not _ranks_text(request.rank_fields):
            raise refuse_field(_DIALECT, "rank_fields")
        new = {**new, "documents": texts}
    reader = _WithoutDocuments() if request.return_documents is False else Relayed()
    return Rendered([with_values(body, new) if new else body], reader)


def _as_texts(documents: msgspec.Raw) -> bytes:
    """The list with the text of each object in its place; empty if that would change nothing.

    Raises ``InvalidRequest`` for very many.
    """
    data = bytes(documents)
    if b"{" not in data:
        return b""
    if data.count(b"{") + data.count(b'"') > _MOST_MARKS:
        message = f"the field 'documents' has more than {_MOST_MARKS} quotes and objects"
        raise InvalidRequest(message, param="documents")
    try:
        _kinds_decoder.decode(documents)  # what is neither fails at the first
        given = [bytes(document) for document in _list_decoder.decode(documents)]
        texts = [_text_of(document) for document in given]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b""  # the container says what is wrong with it
    return b"[" + b",".join(texts) + b"]" if texts != given else b""


def _text_of(document: bytes) -> bytes:
    """Its text, in JSON; the document itself if it has none, as one of an image."""
    if not document.startswith(b"{"):
        return document
    text = bytes(_document_decoder.decode(document).text)
    return text if text.startswith(b'"') else document


def _ranks_text(rank_fields: msgspec.Raw) -> bool:
    try:
        return msgspec.json.decode(rank_fields) in (None, _RANKED)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


class _WithoutDocuments(Whole):
    """Takes the documents out of the answer, and leaves all else of it."""

    _answer = b""

    def take(self, number: int, body: bytes) -> None:
        try:
            answer = _object_decoder.decode(body)
            results = _results_decoder.decode(answer["results"])
            usage = _usage_decoder.decode(answer.get("usage", _NONE))
        except (ValueError, KeyError, RecursionError) as exc:  # among them msgspec's errors
            raise unexpected(_DIALECT, "it has no results") from exc
        for result in results:
            result.pop("document", None)
        self.usage = Usage.read(usage) if usage else None
        self._answer = encode({**answer, "results": results})

    def end(self) -> bytes:
        return self._answer
