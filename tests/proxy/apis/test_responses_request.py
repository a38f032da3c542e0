"""A request of the Responses API becomes a chat, or is refused by the name of what cannot."""

import json
from typing import Any

import pytest

from proxy.apis.base import Translated
from proxy.apis.responses import RESPONSES
from proxy.errors import InvalidRequest

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
SEARCH: Any = {"type": "function", "name": "search", "parameters": None, "strict": None}
CALL = {"type": "function_call", "call_id": "c1", "name": "search", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "nothing"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0", "detail": "low"}


def translate(**fields: Any) -> Translated:
    body = {"model": "llama", "input": "Hello", **fields}
    return RESPONSES.to_chat(json.dumps(body).encode())


def chat_of(**fields: Any) -> Any:
    return json.loads(translate(**fields).chat)


def answer_to(**fields: Any) -> Any:
    completion = {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}
    return json.loads(translate(**fields).whole(json.dumps(completion).encode()))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def said(*items: Any) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = chat_of(input=list(items))["messages"]
    return messages


# --- the input -----------------------------------------------------------------------------------


def test_a_text_is_the_users() -> None:
    assert chat_of() == {"model": "llama", "messages": [user("Hello")]}


def test_instructions_are_one_with_those_of_the_developer_behind_them() -> None:
    asked = chat_of(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": [{"type": "input_text", "text": "Be exact."}]},
            {"type": "message", "role": "system", "content": "Be kind."},
            user("Hello"),
        ],
    )
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe exact.\n\nBe kind."},
        user("Hello"),
    ]


def test_those_between_messages_are_the_users_but_marked() -> None:
    # Most templates know of one system message alone, the first.
    told = {"role": "developer", "content": "In French."}
    marked = "<system-reminder>\nIn French.\n</system-reminder>"
    spoken = {"role": "assistant", "content": "Salut"}
    assert said(user("Hello"), told) == [user(f"Hello\n{marked}")]
    assert said(user("Hello"), spoken, told) == [user("Hello"), spoken, user(marked)]
    assert said(CALL, RESULT, told)[1:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "nothing"},
        user(marked),
    ]


def test_instructions_alone_are_a_message() -> None:
    assert said({"role": "developer", "content": "Hello"}) == [
        {"role": "system", "content": "Hello"}
    ]


def test_texts_of_one_side_are_one_message() -> None:
    texts = [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]
    assert said(user(texts), user("three")) == [user("one\ntwo\nthree")]


def test_an_image_is_a_part_of_its_message() -> None:
    assert said(user([IMAGE, {"type": "input_text", "text": "What is it?"}])) == [
        user(
            [
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,iVBORw0", "detail": "low"},
                },
                {"type": "text", "text": "What is it?"},
            ]
        )
    ]


def test_what_the_model_has_said_in_one_turn_is_one_message() -> None:
    reasoning = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
        "encrypted_content": None,
        "status": "completed",
    }
    text = {"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}
    spoken = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    other = {**CALL, "call_id": "c2", "id": "fc_2", "status": "completed"}
    messages = said(
        user("Go"), reasoning, {**spoken, "content": [text]}, CALL, other, RESULT, user("And?")
    )
    function = {"name": "search", "arguments": "{}"}
    assert messages == [
        user("Go"),
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": function},
                {"id": "c2", "type": "function", "function": function},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "nothing"},
        user("And?"),
    ]


def test_a_turn_of_calls_alone_has_no_text() -> None:
    assert said(CALL, RESULT)[0]["content"] is None


def test_calls_one_after_the_other_are_turns_of_their_own() -> None:
    again = [{**CALL, "call_id": "c2"}, {**RESULT, "call_id": "c2"}]
    roles = [message["role"] for message in said(CALL, RESULT, *again)]
    assert roles == ["assistant", "tool", "assistant", "tool"]


def test_a_refusal_and_a_text_that_came_as_such_are_the_models() -> None:
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    plain = {"role": "assistant", "content": "Still no.", "phase": "final_answer"}
    assert said(user("Go"), refused, plain)[1:] == [
        {"role": "assistant", "content": "No.\nStill no."}
    ]


def test_reasoning_that_is_only_there_in_short_is_better_than_none() -> None:
    reasoning = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    assert said(reasoning, CALL, RESULT)[0]["reasoning_content"] == "Hm."


def test_an_image_that_came_of_a_call_follows_it() -> None:
    result = {**RESULT, "output": [{"type": "input_text", "text": "a file"}, IMAGE]}
    messages = said(CALL, result, user("Which?"))
    assert messages[1] == {"role": "tool", "tool_call_id": "c1", "content": "a file"}
    assert [part["type"] for part in messages[2]["content"]] == ["image_url", "text"]


# --- tools ---------------------------------------------------------------------------------------


def test_functions_are_nested() -> None:
    asked = chat_of(tools=[WEATHER, SEARCH], parallel_tool_calls=False)
    assert asked["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Weather in a city",
                "parameters": WEATHER["parameters"],
                "strict": True,
            },
        },
        {"type": "function", "function": {"name": "search"}},
    ]
    assert asked["parallel_tool_calls"] is False
    assert "tool_choice" not in asked


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        (
            {"type": "function", "name": "search"},
            {"type": "function", "function": {"name": "search"}},
        ),
    ],
)
def test_a_choice_is_the_chats(choice: Any, chosen: Any) -> None:
    assert chat_of(tools=[WEATHER, SEARCH], tool_choice=choice)["tool_choice"] == chosen


def test_of_the_tools_those_are_offered_that_are_allowed() -> None:
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "search"}],
    }
    asked = chat_of(tools=[WEATHER, SEARCH], tool_choice=allowed)
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["search"]
    assert asked["tool_choice"] == "required"


@pytest.mark.parametrize(
    "asked",
    [
        {"tools": [], "tool_choice": "auto"},
        {
            "tools": [WEATHER],
            "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []},
        },
    ],
)
def test_without_tools_there_is_nothing_to_choose(asked: Any) -> None:
    asked = chat_of(parallel_tool_calls=True, **asked)
    assert not asked.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


def test_a_function_of_a_namespace_bears_both_names() -> None:
    space = {"type": "namespace", "name": "web", "description": "The web.", "tools": [SEARCH]}
    call = {**CALL, "namespace": "web"}
    translated = translate(tools=[space, SEARCH], input=[call, RESULT])
    asked = json.loads(translated.chat)
    assert [tool["function"] for tool in asked["tools"]] == [
        {"name": "web__search", "description": "web: The web."},
        {"name": "search"},
    ]
    assert asked["messages"][0]["tool_calls"][0]["function"]["name"] == "web__search"
    calls = [
        {"id": name, "function": {"name": name, "arguments": "{}"}}
        for name in ("web__search", "search", "web__other")
    ]
    choice = {"index": 0, "message": {"tool_calls": calls}, "finish_reason": "tool_calls"}
    answer = json.loads(translated.whole(json.dumps({"choices": [choice]}).encode()))
    named = [(item.get("namespace"), item["name"]) for item in answer["output"]]
    assert named == [("web", "search"), (None, "search"), (None, "web__other")]


# --- how to answer -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "has"),
    [
        ({"max_output_tokens": 7}, {"max_tokens": 7}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0.0, "top_p": 0.5}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"text": {"verbosity": "high"}}, {"verbosity": "high"}),
        ({"text": {"format": {"type": "text"}}}, {}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "city",
                        "schema": {"type": "object", "title": "City"},
                        "strict": True,
                        "description": "a city",
                    }
                }
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "city",
                        "schema": {"type": "object", "title": "City"},
                        "strict": True,
                        "description": "a city",
                    },
                }
            },
        ),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": False}, {"stream": False}),
    ],
)
def test_the_chat_says_the_same(asked: Any, has: Any) -> None:
    assert chat_of(**asked) == {"model": "llama", "messages": [user("Hello")], **has}


@pytest.mark.parametrize(
    "asked",
    [
        {"store": True},
        {"store": False, "include": ["reasoning.encrypted_content"]},
        {
            "metadata": {"a": "b"},
            "user": "u",
            "safety_identifier": "s",
            "client_metadata": {"a": 1},
        },
        {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "service_tier": "priority"},
        {"prompt_cache_options": {"mode": "implicit", "ttl": "30m"}, "max_tool_calls": 3},
        {"reasoning": {"summary": "auto", "context": "auto"}, "truncation": "disabled"},
        {"background": False, "previous_response_id": None, "conversation": None},
        {"top_logprobs": 0, "stream_options": {"include_obfuscation": False}},
    ],
)
def test_what_changes_no_answer_is_taken(asked: Any) -> None:
    assert chat_of(**asked) == chat_of()


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"input": [1, 2, 3]}, "input.0"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"include": ["reasoning.encrypted_content", "file_search_call.results"]}, "include.1"),
        ({"include": ["message.output_text.logprobs"]}, "include.0"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"context": "current_turn"}}, "reasoning.context"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_k": 5}, "top_k"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"tools": [WEATHER, {"type": "web_search"}]}, "tools.1.type"),
        ({"tools": [{"type": "custom", "name": "apply_patch"}]}, "tools.0.type"),
        ({"tools": [{"type": "mcp", "server_label": "s"}]}, "tools.0.type"),
        ({"tools": [{**WEATHER, "defer_loading": True}]}, "tools.0.defer_loading"),
        ({"tools": [{**WEATHER, "output_schema": {}}]}, "tools.0.output_schema"),
        ({"tools": [WEATHER, WEATHER]}, "tools.1.name"),
        ({"tools": [{"type": "function", "name": ""}]}, "tools.0.name"),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]},
            "tools.0.tools.0.type",
        ),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"name": "f"}]}]},
            "tools.0.tools.0.type",
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "f"}]}},
            "tool_choice.tools.0.type",
        ),
        (
            {"input": [{"type": "reasoning", "content": [{"text": "Hm."}]}]},
            "input.0.content.0.type",
        ),
        ({"tools": [WEATHER], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input.0"),
        ({"input": [user("Hi"), {"type": "item_reference", "id": "msg_1"}]}, "input.1.type"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input.0.type"),
        ({"input": [{"type": "reasoning", "encrypted_content": "x"}]}, "input.0.encrypted_content"),
        ({"input": [user([{"type": "input_file", "file_id": "f"}])]}, "input.0.content.0.type"),
        (
            {"input": [user([{"type": "input_image", "image_url": "u", "file_id": "f"}])]},
            "input.0.content.0.file_id",
        ),
        ({"input": [{"role": "system", "content": [IMAGE]}]}, "input.0.content.0.type"),
        ({"input": [{"role": "robot", "content": "Hi"}]}, "input.0.role"),
        ({"input": [{**CALL, "async": True}]}, "input.0.async"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id"),
    ],
)
def test_what_a_chat_cannot_say_is_refused_by_its_name(asked: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translate(**asked)
    assert refused.value.param == param
    assert param in refused.value.message


def test_what_is_not_stored_says_what_to_do_instead() -> None:
    with pytest.raises(InvalidRequest, match="send the items of earlier turns in `input`"):
        translate(previous_response_id="resp_1")


def test_a_tool_that_openai_runs_says_what_to_do_instead() -> None:
    with pytest.raises(InvalidRequest, match=r"'web_search'.* leave out those that OpenAI runs"):
        translate(tools=[{"type": "web_search", "external_web_access": False}])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"model":"m"',
        b'{"model":"m"}',
        b'{"model":"m","input":"\xff"}',
        b'{"model":"m","input":"x","tools":[{"type":"function","name":"f","parameters":{"a":"\xff"}}]}',
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        RESPONSES.to_chat(body)


def test_fields_that_are_there_twice_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="there twice"):
        RESPONSES.to_chat(b'{"model":"m","input":"a","input":"b"}')


# --- what the answer says of it ------------------------------------------------------------------


def test_an_answer_tells_its_request_and_that_it_is_not_stored() -> None:
    asked = {
        "instructions": "Be brief.",
        "tools": [WEATHER],
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_object"}},
        "metadata": {"a": "b"},
        "max_output_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "prompt_cache_key": "k",
        "user": "u",
    }
    answer = answer_to(store=True, reasoning={"effort": "low", "summary": "auto"}, **asked)
    assert {name: answer[name] for name in asked} == asked
    assert (answer["model"], answer["store"], answer["background"]) == ("llama", False, False)
    assert answer["reasoning"] == {"effort": "low", "summary": None}
    assert answer["previous_response_id"] is None


def test_what_was_not_said_is_as_it_is_without() -> None:
    answer = answer_to()
    assert (answer["tools"], answer["tool_choice"]) == ([], "auto")
    assert (answer["parallel_tool_calls"], answer["metadata"]) == (True, {})
    assert (answer["text"], answer["truncation"]) == ({"format": {"type": "text"}}, "disabled")
