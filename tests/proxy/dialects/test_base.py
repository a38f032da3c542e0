"""A stream ends with its failure, and renders it itself."""

import json

from proxy.dialects.base import Stream, Usage
from proxy.errors import UpstreamFailed


class Echo(Stream):
    """Sends what it gets in pairs of bytes, and fails at an exclamation mark."""

    def _receive(self, payload: bytes) -> None:
        for start in range(0, len(payload), 2):
            if payload[start : start + 2] == b"!!":
                raise UpstreamFailed("gone", log_message="why")
            self._send(payload[start : start + 2])

    def _finish(self) -> None:
        self._send(b"end")


def test_what_was_sent_before_a_failure_is_not_lost() -> None:
    stream = Echo()
    before, _, event = stream.feed(b"aabb!!cc").partition(b"data: ")
    assert before == b"aabb"
    assert json.loads(event)["error"]["message"] == "gone"
    assert b"why" not in event
    assert isinstance(stream.error, UpstreamFailed)
    assert stream.feed(b"dd") == stream.end() == b""


def test_without_a_failure_it_ends_in_its_own_way() -> None:
    stream = Echo()
    assert stream.feed(b"aa") + stream.feed(b"") + stream.end() == b"aaend"
    assert stream.error is None


def test_usage_is_read_where_it_is_a_number() -> None:
    assert Usage.read({"prompt_tokens": 1, "completion_tokens": True}) == Usage(1, None)
