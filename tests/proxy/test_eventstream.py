"""Event streams decode as botocore decodes them, however the bytes are cut."""

import struct
import uuid
from datetime import UTC, datetime, timedelta
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import example, given
from hypothesis import strategies as st

from proxy import eventstream
from proxy.eventstream import EventStreamError, FrameSplitter, HeaderValue, Message, decode

names = st.text("abcdefghijklmnop:-é", min_size=1, max_size=20)

# Every value type of the format: its type byte, its bytes.
strings = st.text(max_size=40).map(str.encode)
values = st.one_of(
    st.sampled_from([(0, b""), (1, b"")]),
    st.integers(-(2**7), 2**7 - 1).map(lambda n: (2, struct.pack("!b", n))),
    st.integers(-(2**15), 2**15 - 1).map(lambda n: (3, struct.pack("!h", n))),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: (4, struct.pack("!i", n))),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: (5, struct.pack("!q", n))),
    st.binary(max_size=40).map(lambda b: (6, struct.pack("!H", len(b)) + b)),
    strings.map(lambda b: (7, struct.pack("!H", len(b)) + b)),
    st.integers(0, 2**41).map(lambda n: (8, struct.pack("!q", n))),
    st.binary(min_size=16, max_size=16).map(lambda b: (9, b)),
)
messages = st.tuples(st.dictionaries(names, values, max_size=5), st.binary(max_size=200))


def encode(headers: dict[str, tuple[int, bytes]], payload: bytes) -> bytes:
    block = b"".join(
        bytes((len(name.encode()),)) + name.encode() + bytes((kind,)) + value
        for name, (kind, value) in headers.items()
    )
    lengths = struct.pack("!II", len(block) + len(payload) + 16, len(block))
    head = lengths + struct.pack("!I", crc32(lengths)) + block + payload
    return head + struct.pack("!I", crc32(head))


def text_header(value: str) -> tuple[int, bytes]:
    return 7, struct.pack("!H", len(value.encode())) + value.encode()


def comparable(value: HeaderValue) -> object:
    """Our value as botocore gives it: timestamps as milliseconds, UUIDs as bytes."""
    if isinstance(value, datetime):
        return round((value - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))
    if isinstance(value, uuid.UUID):
        return value.bytes
    return value


def by_botocore(data: bytes) -> list[tuple[dict[str, object], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(event.headers, event.payload) for event in buffer]


def by_us(pieces: list[bytes]) -> list[tuple[dict[str, object], bytes]]:
    splitter = FrameSplitter()
    decoded = [decode(frame) for piece in pieces for frame in splitter.feed(piece)]
    assert splitter.pending == 0
    return [
        ({name: comparable(value) for name, value in message.headers.items()}, message.payload)
        for message in decoded
    ]


@given(sent=st.lists(messages, max_size=4))
def test_frames_decode_as_botocore_decodes_them_with_a_cut_at_every_byte(
    sent: list[tuple[dict[str, tuple[int, bytes]], bytes]],
) -> None:
    data = b"".join(encode(*message) for message in sent)
    expected = by_botocore(data)

    assert by_us([data]) == expected
    assert by_us([data[i : i + 1] for i in range(len(data))]) == expected
    for cut in range(len(data)):
        assert by_us([data[:cut], data[cut:]]) == expected


@given(sent=messages, at=st.integers(0), bit=st.integers(0, 7))
@example(sent=({}, b""), at=0, bit=7)
def test_one_wrong_bit_is_never_taken_for_a_frame(
    sent: tuple[dict[str, tuple[int, bytes]], bytes], at: int, bit: int
) -> None:
    frame = bytearray(encode(*sent))
    frame[at % len(frame)] ^= 1 << bit
    splitter = FrameSplitter()

    with pytest.raises(EventStreamError, match="checksum"):
        splitter.feed(bytes(frame))


@given(st.binary(min_size=12, max_size=100))
def test_garbage_is_refused(data: bytes) -> None:
    if crc32(data[:8]) != struct.unpack("!I", data[8:12])[0]:
        with pytest.raises(EventStreamError):
            FrameSplitter().feed(data)


def prelude(total: int, headers: int) -> bytes:
    lengths = struct.pack("!II", total, headers)
    return lengths + struct.pack("!I", crc32(lengths))


@pytest.mark.parametrize(
    ("total", "headers"),
    [
        (eventstream.MAX_PAYLOAD_BYTES + 17, 0),
        (2**32 - 1, 0),
        (200_000, eventstream.MAX_HEADERS_BYTES + 1),
        (15, 0),
        (20, 10),
    ],
)
def test_lengths_out_of_bounds_are_refused_before_they_are_buffered(
    total: int, headers: int
) -> None:
    with pytest.raises(EventStreamError, match="announces"):
        FrameSplitter().feed(prelude(total, headers))


def framed(block: bytes) -> bytes:
    lengths = struct.pack("!II", len(block) + 16, len(block))
    head = lengths + struct.pack("!I", crc32(lengths)) + block
    return head + struct.pack("!I", crc32(head))


@pytest.mark.parametrize(
    "block",
    [
        b"\x05ab",  # a name that is longer than the headers
        b"\x01a\x07\xff\xffx",  # a string that is longer than the frame
        b"\x01a\x07\x00\x09xxx",  # a string that reaches into the checksum
        b"\x01a\x0a",  # no such type
        b"\x01a\x07\x00\x01\xff",  # no UTF-8
        b"\x01a\x00\x01a\x00",  # the same name twice
        b"\x01a\x09abc",  # half a UUID
        b"\x01a\x08" + b"\x7f" * 8,  # a time beyond the calendar
    ],
)
def test_malformed_headers_are_refused(block: bytes) -> None:
    (frame,) = FrameSplitter().feed(framed(block))
    with pytest.raises(EventStreamError):
        decode(frame)


def test_an_unfinished_frame_is_told() -> None:
    splitter = FrameSplitter()
    frame = encode({}, b"payload")
    assert splitter.feed(frame + frame[:5]) == [frame]
    assert splitter.pending == 5


@pytest.mark.parametrize(
    ("headers", "exception"),
    [
        ({":message-type": "event", ":event-type": "PayloadPart"}, None),
        ({":message-type": "exception", ":exception-type": "ModelStreamError"}, "ModelStreamError"),
        ({":message-type": "error", ":error-code": "InternalError"}, "InternalError"),
        ({":message-type": "exception"}, "UnknownError"),
        ({}, "UnknownError"),
    ],
)
def test_a_message_says_whether_it_is_an_exception(
    headers: dict[str, str], exception: str | None
) -> None:
    frame = encode({name: text_header(value) for name, value in headers.items()}, b"")
    assert decode(frame).exception == exception


def test_an_exception_frame_reads_back_in_botocore_and_here() -> None:
    frame = eventstream.encode_exception("InternalStreamFailure", b'{"Message":"gone"}')

    ((headers, payload),) = by_botocore(frame)
    assert headers[":message-type"] == "exception"
    assert headers[":exception-type"] == "InternalStreamFailure"
    assert payload == b'{"Message":"gone"}'
    assert decode(frame) == Message({**headers}, payload)  # type: ignore[dict-item]
