"""A chat completion becomes an answer of Anthropic's Messages API."""

import json
from typing import Any

import pytest

from proxy.apis import messages_answer
from proxy.errors import InvalidRequest, UpstreamFailed
from tests.proxy.apis.chats import USAGE

Json = dict[str, Any]


def completion(message: Json, finish_reason: str = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, **more}
    return json.dumps({"choices": [choice], "usage": USAGE}).encode()


def answer(data: bytes, *stops: str) -> Json:
    made: Json = json.loads(messages_answer.whole(data, "named", stops))
    return made


def call(arguments: str | None) -> Json:
    function = {"name": "f", "arguments": arguments}
    return {"id": "c", "type": "function", "function": function}


def test_a_text() -> None:
    made = answer(completion({"role": "assistant", "content": "Hi"}))
    assert made == {
        "id": made["id"],
        "type": "message",
        "role": "assistant",
        "model": "named",
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 11,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 7,
        },
    }
    assert made["id"].startswith("msg_")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_text_and_calls_in_this_order(name: str) -> None:
    calls = [call('{"a": 1}'), call(""), call(None)]
    made = answer(completion({"content": "Hi", name: "Hm", "tool_calls": calls}, "tool_calls"))
    thought, text, *called = made["content"]
    assert (thought["type"], thought["thinking"], bool(thought["signature"])) == (
        "thinking",
        "Hm",
        True,
    )
    assert text == {"type": "text", "text": "Hi"}
    assert [block["input"] for block in called] == [{"a": 1}, {}, {}]
    assert made["stop_reason"] == "tool_use"


def test_a_call_that_the_client_has_chosen_stops_for_it() -> None:
    made = answer(completion({"content": "", "tool_calls": [call("{}")]}))
    assert [block["type"] for block in made["content"]] == ["tool_use"]
    assert made["stop_reason"] == "tool_use"


def test_the_stop_sequence_that_was_met() -> None:
    data = completion({"content": "Hi"}, stop_reason="END")
    told = answer(data, "END")
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "END")
    assert answer(data)["stop_reason"] == "end_turn"


@pytest.mark.parametrize("arguments", ['{"a": ', "[1]", "7"])
def test_a_call_without_an_object_is_a_failure_unless_it_was_cut_off(arguments: str) -> None:
    message = {"content": "Hi", "tool_calls": [call(arguments)]}
    with pytest.raises(UpstreamFailed, match="no JSON object"):
        answer(completion(message, "tool_calls"))
    cut = answer(completion(message, "length"))
    assert [block["type"] for block in cut["content"]] == ["text"]
    assert cut["stop_reason"] == "max_tokens"


def test_a_failure_in_place_of_an_answer_is_that() -> None:
    data = json.dumps({"error": {"message": "too long", "code": 400}}).encode()
    with pytest.raises(InvalidRequest, match="too long"):
        answer(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"choices": []}', b"<html>", b"[" * 9999])
def test_what_is_no_completion_is_a_failure(data: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        answer(data)


def test_counting() -> None:
    assert messages_answer.count(completion({"content": "H"}, "length")) == b'{"input_tokens":11}'
    told: list[Json | None] = [None, {}, {"prompt_tokens": None, "completion_tokens": 1}]
    for usage in told:
        body = json.loads(completion({"content": "H"})) | {"usage": usage}
        with pytest.raises(InvalidRequest, match="does not tell") as refused:
            messages_answer.count(json.dumps(body).encode())
        assert refused.value.param == "model"
