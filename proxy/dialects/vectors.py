"""Embeddings: reads what to embed, cuts it into batches, pools and encodes the vectors."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from proxy.dialects import shapes
from proxy.dialects.base import Whole, unexpected
from proxy.dialects.failures import find_failure
from proxy.dialects.fields import Fields
from proxy.errors import InvalidRequest, UpstreamFailed

Vector = list[float]
Input = str | list[int]
Encoded = str | msgspec.Raw

T = TypeVar("T")

# OpenAI's own limit.
_MOST_INPUTS = 2048

# One text's vectors may be wrapped once in a list of their own, or twice.
_MOST_DEPTH = 3

_BRACKETS = re.compile(rb"[\[ \t\r\n]*+")

_vector_decoder = msgspec.json.Decoder(Vector)
_vectors_decoder = msgspec.json.Decoder(list[Vector])
_wrapped_decoder = msgspec.json.Decoder(list[list[Vector]])
_texts_decoder = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """What to embed: texts, or lists of token numbers."""

    inputs: list[Input]
    as_base64: bool
    dimensions: int | None


def read_embedding(fields: Fields, *, takes_tokens: bool, dimensions: bool) -> EmbeddingRequest:
    """Read a request for embeddings.

    ``takes_tokens`` and ``dimensions`` say what the container can do. Raises ``InvalidRequest``.
    """
    inputs = _inputs(fields.take("input"))
    if not takes_tokens and not all(isinstance(item, str) for item in inputs):
        raise InvalidRequest(
            f"the dialect {fields.dialect!r} takes texts as 'input', no token numbers",
            param="input",
        )
    encoding = fields.take("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise InvalidRequest(
            "the field 'encoding_format' must be float or base64", param="encoding_format"
        )
    size = fields.take_integer("dimensions", 1)
    if size is not None and not dimensions:
        raise fields.unsupported("dimensions")
    fields.finish()
    return EmbeddingRequest(inputs, encoding == "base64", size)


def _inputs(value: object) -> list[Input]:
    if isinstance(value, str) or _are_tokens(value):
        value = [value]
    if (
        not isinstance(value, list)
        or not 0 < len(value) <= _MOST_INPUTS
        or not all((isinstance(item, str) and item) or _are_tokens(item) for item in value)
    ):
        raise InvalidRequest(
            f"the field 'input' must be a text or a list of up to {_MOST_INPUTS}, none of them "
            "empty",
            param="input",
        )
    return value


def _are_tokens(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
    )


def in_batches(items: Sequence[T], limit: int) -> list[Sequence[T]]:
    """``items`` in order, so many at a time."""
    return [items[start : start + limit] for start in range(0, len(items), limit)]


class EmbeddingsWhole(Whole):
    """Puts the vectors of all batches together, in order, each as the client wants it."""

    def __init__(
        self,
        dialect: str,
        model: str,
        request: EmbeddingRequest,
        sizes: list[int],
        read: Callable[[bytes], list[Vector]],
    ) -> None:
        """``sizes`` are those of the batches. ``read`` raises ``ValueError`` for what it can't."""
        self._dialect = dialect
        self._model = model
        self._encode = in_base64 if request.as_base64 else _in_json
        self._sizes = sizes
        self._read = read
        self._batches: list[list[Encoded]] = [[] for _ in sizes]

    def take(self, number: int, body: bytes) -> None:
        """Read the vectors of one batch. Raises ``ProxyError``."""
        vectors, size = read_answer(self._dialect, body, self._read), self._sizes[number]
        if len(vectors) != size:
            raise unexpected(self._dialect, f"it has {len(vectors)} vectors for {size} texts")
        self._batches[number] = [self._encode(vector) for vector in vectors]

    def end(self) -> bytes:
        """One list of vectors."""
        vectors = [vector for batch in self._batches for vector in batch]
        return shapes.embeddings(vectors, self._model)


def read_answer(dialect: str, body: bytes, read: Callable[[bytes], list[T]]) -> list[T]:
    """What ``read`` makes of an answer. Raises ``ProxyError``."""
    try:
        return read(body)
    except (ValueError, RecursionError) as exc:  # among them msgspec's errors
        try:
            failure = find_failure(msgspec.json.decode(body))
        except (ValueError, RecursionError):
            failure = None
        raise failure or unexpected(dialect, "its JSON has another form") from exc


def read_vectors(body: bytes) -> list[Vector]:
    """A list of vectors. Raises ``ValueError``."""
    return _vectors_decoder.decode(body)


def in_base64(vector: Vector) -> str:
    """A vector as OpenAI writes it: little-endian floats of four bytes, in base64.

    Raises ``UpstreamFailed`` for a number that is too large for that.
    """
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except OverflowError as exc:
        raise UpstreamFailed("a number of the model's vector is too large") from exc


def _in_json(vector: Vector) -> msgspec.Raw:
    return msgspec.Raw(shapes.encode(vector))


def read_pooled(body: bytes, pooling: str) -> list[Vector]:
    """One vector of each text, as ``pool`` makes it. Raises ``ValueError``.

    Text by text, so that no more than one text's vectors are in memory, and other threads get
    their turn in between.
    """
    return [pool(text, pooling) for text in _texts_decoder.decode(body)]


def pool(text: msgspec.Raw, pooling: str) -> Vector:
    """One vector of a text out of its tokens' vectors, which may be the one item of a list.

    ``pooling`` is one of ``POOLINGS``; a vector that is pooled already stays as it is. Raises
    ``ValueError``.
    """
    depth = _depth(text)
    if depth > _MOST_DEPTH:
        (text,) = _texts_decoder.decode(text)
        depth = _depth(text)
    if depth == 1:
        vector = _vector_decoder.decode(text)
    elif depth == 2:
        vector = POOLINGS[pooling](_vectors_decoder.decode(text))
    else:
        (rows,) = _wrapped_decoder.decode(text)
        vector = POOLINGS[pooling](rows)
    if not vector:
        raise ValueError("no vector")
    return vector


def _depth(text: msgspec.Raw) -> int:
    match = _BRACKETS.match(text)
    return match.group().count(b"[") if match else 0


def _mean(rows: list[Vector]) -> Vector:
    number = len(rows)
    return [total / number for total in map(sum, zip(*rows, strict=True))]


POOLINGS: Mapping[str, Callable[[list[Vector]], Vector]] = {
    "mean": _mean,
    "cls": lambda rows: rows[0],  # the first token's, which BERT's kin train for it
    "last": lambda rows: rows[-1],
}
