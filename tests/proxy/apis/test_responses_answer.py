"""A whole chat completion becomes an answer of the Responses API."""

import json
from typing import Any

import pytest
from openai.types.responses import Response

from proxy.apis.responses import RESPONSES
from proxy.errors import UpstreamFailed

CALL = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": '{"a":1}'}}


def answer(message: Any, finish_reason: str = "stop", **more: Any) -> Any:
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "its-own-name",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        **more,
    }
    translated = RESPONSES.to_chat(b'{"model":"llama","input":"Hello"}')
    said = json.loads(translated.whole(json.dumps(completion).encode()))
    Response.model_validate(said)  # in all of its parts
    return said


def test_a_text_is_a_message() -> None:
    said = answer({"role": "assistant", "content": "Grüße 🌍", "tool_calls": []})
    (item,) = said["output"]
    assert item.pop("id").startswith("msg_")
    assert item == {
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Grüße 🌍", "annotations": [], "logprobs": []}],
    }
    assert said["id"].startswith("resp_")
    assert (said["object"], said["status"], said["model"]) == ("response", "completed", "llama")
    assert said["error"] is said["incomplete_details"] is None
    assert said["completed_at"] >= said["created_at"] > 0


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_text_and_calls_are_items_in_this_order(field: str) -> None:
    calls = [CALL, {**CALL, "id": None}]
    said = answer({"content": "I look.", field: "Hm.", "tool_calls": calls}, "tool_calls")
    reasoning, message, call, other = said["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert (reasoning["type"], reasoning["summary"]) == ("reasoning", [])
    assert reasoning["encrypted_content"] is None
    assert message["content"][0]["text"] == "I look."
    assert call.pop("id").startswith("fc_")
    assert call == {
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "search",
        "arguments": '{"a":1}',
    }
    assert other["call_id"].startswith("call_")
    assert said["status"] == "completed"
    assert len({item["id"] for item in said["output"] if "id" in item}) == 3


def test_a_refusal_is_one() -> None:
    (item,) = answer({"content": None, "refusal": "No."})["output"]
    assert item["content"] == [{"type": "refusal", "refusal": "No."}]


def test_an_empty_answer_is_an_empty_message() -> None:
    (item,) = answer({"content": None})["output"]
    assert [part["text"] for part in item["content"]] == [""]


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_an_answer_that_is_cut_off_says_why(finish_reason: str, reason: str) -> None:
    said = answer({"content": "Once upon", "reasoning_content": "Hm."}, finish_reason)
    assert (said["status"], said["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert [item["status"] for item in said["output"]] == ["completed", "incomplete"]
    assert said["completed_at"] is None


def test_usage_is_the_containers() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert answer({"content": "x"}, usage=usage)["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 14,
    }


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 3}, {"prompt_tokens": "many"}])
def test_usage_that_is_not_told_is_not_made_up(usage: Any) -> None:
    assert answer({"content": "x"}, usage=usage)["usage"] is None


@pytest.mark.parametrize(
    "message", [None, {"content": 5}, {"tool_calls": [{"function": {"arguments": "{}"}}]}]
)
def test_what_is_no_completion_is_the_models_failure(message: Any) -> None:
    with pytest.raises(UpstreamFailed):
        answer(message)


def test_what_is_no_text_at_all_is_the_models_failure_too() -> None:
    translated = RESPONSES.to_chat(b'{"model":"llama","input":"Hello"}')
    with pytest.raises(UpstreamFailed):
        translated.whole(b'{"other":"\xff"}')


def test_a_failure_in_it_is_that_of_the_container() -> None:
    with pytest.raises(UpstreamFailed, match="out of memory"):
        answer(None, error={"message": "out of memory", "code": 500})
