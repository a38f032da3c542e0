"""What a chat answers is read as the APIs need it."""

import json
from typing import Any

import pytest

from proxy.apis.chat import CallOrder, ToolCall, as_chunks, read_chunks, read_completion
from proxy.errors import UpstreamFailed
from tests.proxy.apis.chats import USAGE, call, chunk, event, text

Json = dict[str, Any]


def test_chunks_are_read_out_of_any_number_of_events() -> None:
    data = b": comment\n\n" + b"".join(text("a", "b")) + b"data: [DONE]\n\n"
    deltas = [each.choice.delta for each in read_chunks(data) if each.choice]
    assert [delta.content for delta in deltas if delta] == ["a", "b"]


def test_another_choice_than_the_first_is_none_of_ours() -> None:
    (read,) = read_chunks(event({"choices": [{"index": 1, "delta": {"content": "x"}}]}))
    assert read.choice is None


def test_a_whole_answer_as_a_stream_says_the_same() -> None:
    function = {"name": "f", "arguments": "{}"}
    message = {
        "role": "assistant",
        "content": "Hi",
        "reasoning": "Hm",
        "tool_calls": [{"id": "a", "function": function}, {"id": "b", "function": function}],
    }
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls", "stop_reason": "x"}
    whole = json.dumps({"choices": [choice], "usage": USAGE}).encode()
    (read,) = read_chunks(as_chunks(whole))
    assert read.choice
    assert read.choice.delta
    assert read.usage
    assert (read.choice.finish_reason, read.choice.stop_sequence) == ("tool_calls", "x")
    delta = read.choice.delta
    assert (delta.content, delta.thought) == ("Hi", "Hm")
    assert [(each.index, each.id) for each in delta.tool_calls or ()] == [(0, "a"), (1, "b")]
    assert (read.usage.prompt_tokens, read.usage.completion_tokens) == (11, 7)


@pytest.mark.parametrize("counts", [{}, {"prompt_tokens": None}, {"prompt_tokens": "many"}])
def test_counts_that_are_none_are_zero(counts: Json) -> None:
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
    chat, _, _ = read_completion(json.dumps({"choices": [choice], "usage": counts}).encode())
    assert chat.usage
    assert (chat.usage.prompt_tokens, chat.usage.cached_tokens, chat.usage.tells_prompt) == (
        0,
        0,
        False,
    )


def test_a_chunk_of_other_types_is_a_failure() -> None:
    with pytest.raises(UpstreamFailed):
        list(read_chunks(chunk({"content": 7})))


def pieces(*deltas: Json) -> list[int]:
    order = CallOrder()
    found = []
    for each in deltas:
        (read,) = read_chunks(chunk({"tool_calls": [each]}))
        assert read.choice
        assert read.choice.delta
        found += [order.index(piece) for piece in read.choice.delta.tool_calls or ()]
    return found


def test_pieces_have_their_own_index() -> None:
    order = CallOrder()
    read = [
        piece
        for each in (*call(0, "f", "{", "}"), *call(3, "g", "{}"))
        for found in read_chunks(each)
        if found.choice and found.choice.delta
        for piece in found.choice.delta.tool_calls or ()
    ]
    assert [order.index(piece) for piece in read] == [0, 0, 0, 3, 3]


def test_without_an_index_an_id_or_a_name_begins_a_call() -> None:
    more = {"function": {"arguments": "x"}}
    assert pieces({"id": "a"}, more, {"id": "b"}, {"id": "a", **more}, more) == [0, 0, 1, 0, 1]
    assert pieces({"function": {"name": "f"}}, more, {"function": {"name": "g"}}) == [0, 0, 1]
    assert CallOrder().index(ToolCall()) == 0
