"""A body is one JSON object, each field is in it once, and a bad one costs little."""

import time

import msgspec
import pytest

from proxy.dialects.bodies import LONGEST_NAME, MOST_FIELDS, decode, decode_value, decode_values
from proxy.errors import InvalidRequest

BIG = 25 * 1024 * 1024


class Known(msgspec.Struct):
    model: str | None = None


def fields(number: int) -> bytes:
    return b"{" + b",".join(b'"%d":1' % index for index in range(number)) + b"}"


def test_values_are_bytes_in_order() -> None:
    values = decode_values(b' {"b": [1, 2], "mod\\u0065l" : "x","a":1E+2}')
    assert [(name, bytes(value)) for name, value in values.items()] == [
        ("b", b"[1, 2]"),
        ("model", b'"x"'),
        ("a", b"1E+2"),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"", "not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"\xff": 1}', "not valid JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_object_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        decode_values(body)
    with pytest.raises(InvalidRequest, match=reason):
        decode(msgspec.json.Decoder(dict[str, object]), body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "b": 2, "a": 1}',
        b'{"a": 12, "a": 1}',
        b'{"a": 1, "\\u0061": 1}',
    ],
)
def test_a_field_that_is_there_twice_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="'a' is there twice") as caught:
        decode_values(body)
    assert caught.value.param == "a"


def test_very_many_fields_and_very_long_names_are_refused() -> None:
    assert len(decode_values(fields(MOST_FIELDS))) == MOST_FIELDS
    with pytest.raises(InvalidRequest, match="more than 1000 fields"):
        decode_values(fields(MOST_FIELDS + 1))
    with pytest.raises(InvalidRequest, match="more than 500 characters"):
        decode_values(b'{"%s": 1}' % (b"a" * (LONGEST_NAME + 1)))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"x"' + b',"a":1' * (BIG // 6) + b"}",
        b'{"model":"x"' + b"".join(b',"%x":1' % index for index in range(BIG // 12)) + b"}",
    ],
    ids=["the same field", "other fields"],
)
def test_millions_of_fields_are_not_read_to_the_end(body: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest):
        decode_values(body)
    assert time.process_time() - began < 0.25


def test_a_value_of_another_kind_is_named() -> None:
    decoder = msgspec.json.Decoder(Known)
    with pytest.raises(InvalidRequest, match="the field 'model' must be a string") as caught:
        decode(decoder, b'{"model": 1e999}', {"model": "a string"})
    assert caught.value.param == "model"
    with pytest.raises(InvalidRequest, match="a value that cannot be read"):
        decode(decoder, b'{"model": 7}')


@pytest.mark.parametrize("value", [b"1" * 5000, b"1e999", b'"\xff"'])
def test_a_value_that_cannot_be_read_is_named(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the field 'seed' cannot be read") as caught:
        decode_value("seed", decode_values(b'{"seed": ' + value + b"}")["seed"])
    assert caught.value.param == "seed"


@pytest.mark.parametrize("part", [b",[]", b",{}", b',{"role":"user","content":"a"}'])
def test_a_value_of_very_many_parts_is_refused_at_once(part: bytes) -> None:
    body = b'{"messages":[0' + part * (BIG // len(part)) + b"]}"
    value = decode_values(body)["messages"]
    began = time.process_time()
    with pytest.raises(InvalidRequest, match="more than 100000 lists and objects"):
        decode_value("messages", value)
    assert time.process_time() - began < 0.25
    assert decode_value("messages", msgspec.Raw(b"[0" + part * 99_000 + b"]"))
