"""A request that does not fit its schema is refused with the place that is wrong."""

from typing import Literal

import msgspec
import pytest

from proxy.apis.requests import decode_request
from proxy.dialects.bodies import MOST_PARTS
from proxy.errors import InvalidRequest


class Part(msgspec.Struct, forbid_unknown_fields=True, tag="part"):
    kind: Literal["a", "b"] = "a"
    never: None = None


class Piece(msgspec.Struct, forbid_unknown_fields=True, tag="piece"):
    pass


class Request(msgspec.Struct, forbid_unknown_fields=True):
    parts: list[Part | Piece]
    number: int = 0
    free: dict[str, int] = {}
    anything: object = None


DECODER = msgspec.json.Decoder(Request)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b'{"parts": [], "x": 1}', "x", "x is not supported"),
        (b"{}", "parts", "parts is missing"),
        (b'{"parts": 1}', "parts", "Expected `array`, got `int`"),
        (b'{"parts": [{"type": "part"}, {"type": "other"}]}', "parts.1.type", "'other'"),
        (b'{"parts": [{}]}', "parts.0.type", "parts.0.type is missing"),
        (b'{"parts": [{"type": "part", "kind": "c"}]}', "parts.0.kind", "its value 'c'"),
        (b'{"parts": [{"type": "part", "never": 1}]}', "parts.0.never", "not supported"),
        (b'{"parts": [{"type": "part", "more": 1}]}', "parts.0.more", "not supported"),
        (b'{"parts": [], "free": {"a": "b"}}', "free....", "Expected `int`"),
        (b"[]", None, "Expected `object`"),
        (b"no JSON", None, "not valid JSON"),
        (b'{"anything": "\xff"}', None, "not valid JSON"),
    ],
)
def test_the_place(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_request(DECODER, body)
    assert refused.value.param == param
    assert message in refused.value.message


def test_what_fits_is_decoded() -> None:
    assert decode_request(DECODER, b'{"parts": [{"type": "part"}]}') == Request([Part()])


def test_what_takes_long_to_read_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="lists and objects"):
        decode_request(DECODER, b"[" * (MOST_PARTS + 1))


def test_what_is_nested_deeply_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        decode_request(DECODER, b'{"parts": [], "anything": ' + b"[" * 50_000)


def test_a_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode_request(DECODER, b'{"' + b"x" * 10_000 + b'": 1}')
    assert len(refused.value.message) < 1000
