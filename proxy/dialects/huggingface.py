"""The dialect of Hugging Face's inference toolkit: a pipeline of Transformers, by its task.

Covered are ``text-generation`` and ``feature-extraction``. The pipelines answer in one piece, tell
no token counts, and not why a text ended: it is reported as ``stop``. A stop sequence is cut here,
for they know only one token. Sources: the toolkit's handler, Transformers' pipelines.
"""

from __future__ import annotations

from functools import partial

from proxy.dialects.base import Operation, Rendered, Settings, refuse_operation
from proxy.dialects.fields import Fields
from proxy.dialects.generation import Piece, TextWhole, text_of
from proxy.dialects.shapes import Head, encode
from proxy.dialects.text import read_completion
from proxy.dialects.vectors import EmbeddingsWhole, in_batches, read_embedding, read_pooled

NAME = "huggingface"


def render(body: bytes, operation: Operation, *, model: str, settings: Settings) -> Rendered:
    """A body for each prompt, or for each batch of texts. Raises ``InvalidRequest``."""
    if operation is Operation.COMPLETIONS:
        return _render_completion(body, model)
    if operation is Operation.EMBEDDINGS:
        return _render_embedding(body, model, settings)
    raise refuse_operation(NAME, operation)


def _render_completion(body: bytes, model: str) -> Rendered:
    fields = Fields(body, NAME)
    request = read_completion(fields)
    if request.stream:
        raise fields.unsupported("stream")
    bodies = [
        encode({"inputs": prompt, "parameters": request.parameters}) for prompt in request.prompts
    ]
    head = Head.new(Operation.COMPLETIONS, model)
    return Rendered(bodies, TextWhole(NAME, head, request.stops, _read_text))


def _read_text(said: object) -> Piece:
    while isinstance(said, list):
        said = said[0]
    if not isinstance(said, dict):
        raise TypeError("no object")
    return Piece(text_of(said["generated_text"]), "")


def _render_embedding(body: bytes, model: str, settings: Settings) -> Rendered:
    request = read_embedding(Fields(body, NAME), takes_tokens=False, dimensions=False)
    batches = in_batches(request.inputs, settings.batch_limit)
    bodies = [encode({"inputs": batch}) for batch in batches]

    read = partial(read_pooled, pooling=settings.pooling)
    sizes = [len(batch) for batch in batches]
    return Rendered(bodies, EmbeddingsWhole(NAME, model, request, sizes, read))
