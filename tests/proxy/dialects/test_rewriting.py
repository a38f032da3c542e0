"""Values are set, and the bytes around them stay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.rewriting import with_values
from proxy.errors import InvalidRequest


def test_known_fields_are_replaced_and_missing_ones_come_first() -> None:
    body = b'{ "a" : 1, "b":{"a":2} }'
    assert with_values(body, {"a": b"7", "c": b"8"}) == b'{"c":8, "a" : 7, "b":{"a":2} }'


@pytest.mark.parametrize("body", [b"{}", b" { } "])
def test_an_empty_object_gets_its_first_field(body: bytes) -> None:
    assert json.loads(with_values(body, {"a": b"1"})) == {"a": 1}


@pytest.mark.parametrize("body", [b"[]", b"7", b"{", b"", b'{"a":1}x'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        with_values(body, {"a": b"1"})


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.booleans())
def test_the_other_values_are_as_they_were(fields: dict[str, object], ascii_only: bool) -> None:
    body = json.dumps(fields, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    assert json.loads(with_values(body, {"stream": b"true"})) == {**fields, "stream": True}
