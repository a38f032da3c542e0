"""Streamed chats for the tests of the APIs that are made of them."""

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

HEAD: Json = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "own"}
DONE = b"data: [DONE]\n\n"
USAGE: Json = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def event(chunk: Json) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: Json, finish_reason: str | None = None, **more: Any) -> bytes:
    """One event of a chat."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **more}
    return event({**HEAD, "choices": [choice]})


def usage(counts: Json | None = None) -> bytes:
    """The event that tells the usage."""
    return event({**HEAD, "choices": [], "usage": counts or USAGE})


def text(*pieces: str) -> list[bytes]:
    return [chunk({"content": piece}) for piece in pieces]


def reasoning(*pieces: str, name: str = "reasoning_content") -> list[bytes]:
    return [chunk({name: piece}) for piece in pieces]


def call(index: int, name: str, *pieces: str, call_id: str | None = None) -> list[bytes]:
    """The events of one call of a tool, as vLLM has them."""
    function = {"name": name, "arguments": ""}
    begin = {"index": index, "id": call_id or f"call_{index}", "type": "function"}
    return [
        chunk({"tool_calls": [{**begin, "function": function}]}),
        *(
            chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            for piece in pieces
        ),
    ]


def stream(*parts: Iterable[bytes], finish_reason: str = "stop", **more: Any) -> list[bytes]:
    """A whole stream of these parts."""
    begin = chunk({"role": "assistant", "content": ""})
    said = [item for part in parts for item in part]
    return [begin, *said, chunk({}, finish_reason, **more), usage(), DONE]


# --- any chat, for hypothesis --------------------------------------------------------------------

_texts = st.lists(st.text(min_size=1, max_size=8), max_size=4)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
_arguments = st.dictionaries(st.text(max_size=4), _json, max_size=3)
_calls = st.lists(st.tuples(st.sampled_from(["look", "read"]), _arguments), max_size=3)


def _cut(whole: str, places: Sequence[int]) -> list[str]:
    ends = sorted({0, len(whole), *(place % (len(whole) + 1) for place in places)})
    return [whole[start:end] for start, end in itertools.pairwise(ends)]


@st.composite
def chats(draw: st.DrawFn) -> list[bytes]:
    """The events of a chat that reasons, speaks and calls tools, cut anywhere."""
    name = draw(st.sampled_from(["reasoning_content", "reasoning"]))
    parts = [reasoning(*draw(_texts), name=name), text(*draw(_texts))]
    called = draw(_calls)
    for index, (tool, arguments) in enumerate(called):
        cuts = draw(st.lists(st.integers(0, 100), max_size=4))
        parts.append(call(index, tool, *_cut(json.dumps(arguments), cuts)))
    reason = "tool_calls" if called else draw(st.sampled_from(["stop", "length"]))
    counts = draw(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
    told = {"prompt_tokens": counts[0], "completion_tokens": counts[1]}
    *events, _usage, done = stream(*parts, finish_reason=reason)
    return [*events, usage(told), done]


def grouped(events: Sequence[bytes], sizes: Sequence[int]) -> list[bytes]:
    """The same events, some of them together, as they arrive."""
    groups, at = [], 0
    for size in [*sizes, len(events)]:
        if at < len(events):
            groups.append(b"".join(events[at : at + size]))
            at += size
    return groups
