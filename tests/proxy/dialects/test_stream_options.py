"""A stream is asked for its usage, and who did not ask is not shown it."""

import json
import time

import pytest

from proxy.dialects.stream_options import with_usage, without_usage
from proxy.errors import InvalidRequest

BIG = 25 * 1024 * 1024


@pytest.mark.parametrize(
    ("options", "expected", "asks"),
    [
        (b"null", b'{"include_usage":true}', False),
        (b"{}", b'{"include_usage":true}', False),
        (b'{"include_usage": false, "x": 1}', b'{"include_usage": true, "x": 1}', False),
        (b'{"include_usage" : true}', b'{"include_usage" : true}', True),
    ],
)
def test_the_usage_is_asked_for_beside_what_else_is_wanted(
    options: bytes, expected: bytes, asks: bool
) -> None:
    body = b'{"stream": true, "stream_options": %s}'
    assert with_usage(body % options) == (body % expected, asks)


def test_other_values_are_set_on_the_way() -> None:
    body, _ = with_usage(b'{"stream":false}', {"stream": b"true"})
    assert json.loads(body) == {"stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("options", "param"),
    [
        (b"7", "stream_options"),
        (b"[]", "stream_options"),
        (b"[" + b"[]," * (BIG // 3) + b"[]]", "stream_options"),
        (b'{"a": 1' + b',"a":1' * (BIG // 6) + b"}", "a"),
    ],
    ids=["a number", "a list", "a very long list", "very many fields"],
)
def test_options_that_are_none_are_refused_at_once(options: bytes, param: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest) as caught:
        with_usage(b'{"stream_options": %s}' % options)
    assert time.process_time() - began < 0.5
    assert caught.value.param == param


def test_the_event_of_the_usage_alone_is_left_out() -> None:
    text, usage = b'data: {"choices":[{}],"usage":{}}\n\n', b'data: {"choices":[],"usage":{}}\n\n'
    assert without_usage(text + usage + b"data: [DONE]\n\n") == text + b"data: [DONE]\n\n"
