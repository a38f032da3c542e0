"""Server-sent events come out whole and unchanged, however they were cut."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import sse
from proxy.sse import EventSplitter, EventTooLarge

line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
lines = st.text("dat: xyé[]{}", min_size=1, max_size=12).map(str.encode)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Events of one or more lines, each line with an end of its own kind."""
    data = b""
    for _ in range(draw(st.integers(0, 5))):
        for line in draw(st.lists(lines, min_size=1, max_size=3)):
            data += line + draw(line_ends)
        data += draw(line_ends)
    return data + draw(st.one_of(st.just(b""), lines))


def normalised(data: bytes) -> list[bytes]:
    """What a client reads: the events, with their line ends made equal."""
    data = re.sub(rb"\r\n|\r", b"\n", data)
    return [event for event in data.split(b"\n\n") if event.strip(b"\n")]


def outputs(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    events = [splitter.feed(piece) for piece in pieces]
    return [event for event in events if event], splitter.flush()


@given(streams(), st.lists(st.integers(1, 7), min_size=1))
def test_no_byte_is_lost_or_changed(data: bytes, sizes: list[int]) -> None:
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    whole, rest = outputs(pieces)
    assert b"".join(whole) + rest == data


@given(streams())
def test_what_comes_out_is_whole_events_with_a_cut_at_every_byte(data: bytes) -> None:
    for cut in range(len(data) + 1):
        whole, rest = outputs([data[:cut], data[cut:]])
        # An event that came out in two parts would count as two.
        assert [event for out in (*whole, rest) for event in normalised(out)] == normalised(data)


def test_an_event_comes_out_with_its_last_byte() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: one") == b""
    assert splitter.feed(b"\n") == b""
    assert splitter.feed(b"\n") == b"data: one\n\n"
    assert splitter.feed(b"data: two\n\ndata: th") == b"data: two\n\n"
    assert splitter.feed(b"ree\r\n\r\n") == b"data: three\r\n\r\n"
    assert splitter.flush() == b""


def test_events_that_arrive_together_come_out_together() -> None:
    assert EventSplitter().feed(b"data: 1\n\ndata: 2\n\n: ping\n\n") == (
        b"data: 1\n\ndata: 2\n\n: ping\n\n"
    )


def test_a_single_crlf_does_not_end_an_event() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"event: a\r\ndata: b\r\n") == b""
    assert splitter.feed(b"\r") == b""
    assert splitter.feed(b"\n") == b"event: a\r\ndata: b\r\n\r\n"


def test_an_event_without_its_empty_line_is_left_for_the_end() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: [DONE]") == b""
    assert splitter.flush() == b"data: [DONE]"
    assert splitter.flush() == b""


def test_what_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10)
    splitter = EventSplitter()
    assert splitter.feed(b"data: 1\n\n" * 100) == b"data: 1\n\n" * 100
    with pytest.raises(EventTooLarge):
        splitter.feed(b"data: 12345")


def test_an_event_is_written_as_one_data_line() -> None:
    assert sse.event(b'{"a":1}') == b'data: {"a":1}\n\n'
