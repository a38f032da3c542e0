"""Vectors are pooled and encoded; inputs are read and cut into batches."""

import base64
import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.fields import Fields
from proxy.dialects.vectors import (
    EmbeddingRequest,
    in_base64,
    in_batches,
    pool,
    read_embedding,
    read_pooled,
)
from proxy.errors import InvalidRequest, UpstreamFailed


def request(**values: Any) -> EmbeddingRequest:
    fields = Fields(json.dumps(values).encode(), "tei")
    return read_embedding(fields, takes_tokens=True, dimensions=True)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_base64_holds_floats_of_four_bytes(vector: list[float]) -> None:
    data = base64.b64decode(in_base64(vector))
    assert list(struct.unpack(f"<{len(vector)}f", data)) == vector


def test_a_number_too_large_for_four_bytes_is_a_failure() -> None:
    with pytest.raises(UpstreamFailed, match="too large"):
        in_base64([1e300])


@given(st.lists(st.integers()), st.integers(min_value=1, max_value=5))
def test_batches_are_in_order_and_within_the_limit(items: list[int], limit: int) -> None:
    batches = in_batches(items, limit)
    assert [item for batch in batches for item in batch] == items
    assert all(0 < len(batch) <= limit for batch in batches)


@pytest.mark.parametrize(
    ("nested", "pooling", "vector"),
    [
        ([[1, 2], [3, 6]], "mean", [2, 4]),
        ([[[1, 2], [3, 6]]], "mean", [2, 4]),
        ([[[[1, 2], [3, 6]]]], "cls", [1, 2]),
        ([[1, 2], [3, 6]], "last", [3, 6]),
        ([[1, 2]], "mean", [1, 2]),
        ([1, 2], "mean", [1, 2]),
        ([1], "mean", [1]),
    ],
)
def test_a_texts_vectors_are_pooled(nested: object, pooling: str, vector: list[float]) -> None:
    assert pool(msgspec.Raw(json.dumps(nested).encode()), pooling) == vector


@pytest.mark.parametrize(
    "nested",
    [[], None, 7, [[]], [["a"]], [[1, 2], [3]], [[1], "a"], [[[1], [2]], [[3], [4]]], {}, [True]],
)
def test_what_is_no_vector_is_refused(nested: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        pool(msgspec.Raw(json.dumps(nested).encode()), "mean")


def test_of_a_batch_each_text_has_one_vector() -> None:
    assert read_pooled(b"[[[1, 2], [3, 6]], [[[0, 1]]], [4, 5]]", "mean") == [
        [2, 4],
        [0, 1],
        [4, 5],
    ]
    with pytest.raises(ValueError, match="array"):
        read_pooled(b'{"error": "gone"}', "mean")


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
    ],
)
def test_inputs_are_read(value: object, inputs: list[object]) -> None:
    assert request(input=value) == EmbeddingRequest(inputs, False, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [None, "", [], [""], [[]], 7, [1, "a"], ["a"] * 2049, {"a": 1}])
def test_inputs_are_checked(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        request(input=value)
    assert caught.value.param == "input"


def test_the_encoding_is_checked() -> None:
    assert request(input="a", encoding_format="base64", dimensions=4) == EmbeddingRequest(
        ["a"], True, 4
    )
    for wrong in ("hex", "", False, 0):
        with pytest.raises(InvalidRequest) as caught:
            request(input="a", encoding_format=wrong)
        assert caught.value.param == "encoding_format"
