"""The dialect of Hugging Face's Text Embeddings Inference: vectors, and ranks.

Source: TEI's OpenAPI description (``EmbedRequest``, ``RerankRequest``, ``RerankResponse``). On
SageMaker /invocations does what the model is made for. It tells no token counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.dialects import shapes
from proxy.dialects.base import Operation, Rendered, Settings, Whole, refuse_operation, unexpected
from proxy.dialects.fields import Fields
from proxy.dialects.vectors import (
    EmbeddingsWhole,
    in_batches,
    read_answer,
    read_embedding,
    read_vectors,
)
from proxy.errors import InvalidRequest

NAME = "tei"

_MOST_DOCUMENTS = 2048


class _Rank(msgspec.Struct):
    index: int
    score: float


_ranks_decoder = msgspec.json.Decoder(list[_Rank])


def render(body: bytes, operation: Operation, *, model: str, settings: Settings) -> Rendered:
    """A body for each batch that the container takes. Raises ``InvalidRequest``."""
    if operation is Operation.EMBEDDINGS:
        return _render_embedding(body, model, settings)
    if operation is Operation.RERANK:
        return _render_rerank(body, model, settings)
    raise refuse_operation(NAME, operation)


def _render_embedding(body: bytes, model: str, settings: Settings) -> Rendered:
    fields = Fields(body, NAME)
    request = read_embedding(fields, takes_tokens=True, dimensions=settings.dimensions)
    options = {} if request.dimensions is None else {"dimensions": request.dimensions}
    batches = in_batches(request.inputs, settings.batch_limit)
    bodies = [shapes.encode({"inputs": batch, **options}) for batch in batches]
    sizes = [len(batch) for batch in batches]
    return Rendered(bodies, EmbeddingsWhole(NAME, model, request, sizes, read_vectors))


def _render_rerank(body: bytes, model: str, settings: Settings) -> Rendered:
    fields = Fields(body, NAME)
    query = fields.take_text("query")
    documents = _documents(fields.take("documents"))
    most = fields.take_integer("top_n", 1)
    with_documents = fields.take("return_documents")
    if not isinstance(with_documents, bool | None):
        raise InvalidRequest(
            "the field 'return_documents' must be true or false", param="return_documents"
        )
    fields.finish()
    batches = in_batches(documents, settings.batch_limit)
    bodies = [shapes.encode({"query": query, "texts": batch}) for batch in batches]
    return Rendered(bodies, _Ranks(model, batches, most, with_documents is not False))


def _documents(value: object) -> list[str]:
    """The texts, which may come as objects with a text."""
    documents = value if isinstance(value, list) else []
    texts = [item.get("text") if isinstance(item, dict) else item for item in documents]
    if not 0 < len(texts) <= _MOST_DOCUMENTS or not all(
        isinstance(text, str) and text for text in texts
    ):
        raise InvalidRequest(
            f"the field 'documents' must be a list of 1 to {_MOST_DOCUMENTS} texts, none of them "
            "empty",
            param="documents",
        )
    return [str(text) for text in texts]


class _Ranks(Whole):
    """Ranks the documents of all batches; a score depends on no other document."""

    def __init__(
        self, model: str, batches: list[Sequence[str]], most: int | None, with_documents: bool
    ) -> None:
        self._model = model
        self._batches = batches
        self._ranks: list[list[_Rank]] = [[] for _ in batches]
        self._most = most
        self._with_documents = with_documents

    def take(self, number: int, body: bytes) -> None:
        batch = self._batches[number]
        ranks = read_answer(NAME, body, _ranks_decoder.decode)
        if sorted(rank.index for rank in ranks) != list(range(len(batch))):
            raise unexpected(NAME, f"it does not rank {len(batch)} texts")
        self._ranks[number] = ranks

    def end(self) -> bytes:
        results: list[tuple[int, float, str | None]] = []
        first = 0
        for batch, ranks in zip(self._batches, self._ranks, strict=True):
            for rank in ranks:
                document = batch[rank.index] if self._with_documents else None
                results.append((first + rank.index, rank.score, document))
            first += len(batch)
        results.sort(key=lambda result: (-result[1], result[0]))
        return shapes.rerank(results[: self._most], self._model)
