"""Payloads are found in JSON lines and in events, however they are cut."""

import pytest
from hypothesis import given

from proxy.dialects import lines
from proxy.dialects.lines import PayloadSplitter
from proxy.errors import UpstreamFailed
from tests.proxy.dialects.asking import pieces, places

STREAM = (
    '{"a": "é"}\n\n: a comment\r\nevent: message\nid: 7\nretry: 10\n'
    'data:\n\ndata: \r\n\r\ndata:{"b": "🦉"}\r\n\r\n'
    'data: {"c": "data:"}\n\ndata: [DONE]\n\n{"d": 1}'
).encode()
PAYLOADS = ['{"a": "é"}', '{"b": "🦉"}', '{"c": "data:"}', "[DONE]", '{"d": 1}']


@given(places)
def test_payloads_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    splitter = PayloadSplitter()
    found = [line for piece in pieces(STREAM, cuts) for line in splitter.feed(piece)]
    assert [line.decode() for line in found + splitter.flush()] == PAYLOADS


def test_a_line_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_EVENT_BYTES", 10)
    splitter = PayloadSplitter()
    splitter.feed(b"12345678\n123456789")
    with pytest.raises(UpstreamFailed, match="has no lines"):
        splitter.feed(b"01")
