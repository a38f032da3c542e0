"""A request of Anthropic's Messages API becomes a chat, or is refused by the field's name."""

import json
from typing import Any

import pytest

from proxy.apis.messages import COUNT, MESSAGES
from proxy.errors import InvalidRequest

Json = dict[str, Any]

LEAST: Json = {
    "model": "m",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "Hello"}],
}
LOOK: Json = {"name": "look", "input_schema": {"type": "object", "properties": {}}}
CALL: Json = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": [1, 2.50]}}
HINT: Json = {"type": "ephemeral"}


def chat(**fields: Any) -> Json:
    """The chat that is made of a request with these fields."""
    made: Json = json.loads(MESSAGES.to_chat(json.dumps({**LEAST, **fields}).encode()).chat)
    return made


def said(*messages: Json, **fields: Any) -> Any:
    """The chat's messages."""
    return chat(messages=list(messages), **fields)["messages"]


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        chat(**fields)
    assert str(error.value.param) in error.value.message
    return error.value


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def assistant(content: Any) -> Json:
    return {"role": "assistant", "content": content}


def block(text: str) -> Json:
    return {"type": "text", "text": text}


def result(content: Any = None, **more: Any) -> Json:
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}


class TestWhatIsTheSame:
    def test_the_least(self) -> None:
        assert chat() == LEAST

    def test_how_to_sample(self) -> None:
        options = {"temperature": 0.5, "top_p": 0.9, "top_k": 40}
        assert chat(**options) == {**LEAST, **options}

    def test_stops_have_another_name(self) -> None:
        assert chat(stop_sequences=["END"])["stop"] == ["END"]

    def test_a_stream_is_asked_for_its_usage(self) -> None:
        assert chat(stream=True) == {
            **LEAST,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        assert chat(stream=False) == {**LEAST, "stream": False}

    @pytest.mark.parametrize(
        "fields",
        [
            {"cache_control": HINT},
            {"metadata": {"user_id": "x"}},
            {"service_tier": "auto"},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
            {"thinking": {"type": "disabled"}},
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
            {"tools": [], "tool_choice": {"type": "auto"}},
            {"system": ""},
            *(
                {name: None}
                for name in ("system", "tools", "stream", "container", "mcp_servers", "thread")
            ),
        ],
    )
    def test_what_asks_for_nothing_has_no_effect(self, fields: Json) -> None:
        assert chat(**fields) == LEAST


class TestMessages:
    def test_the_system_comes_first(self) -> None:
        both = [block("Be exact."), {**block("Be brief."), "cache_control": HINT}]
        assert said(user("Hi"), system=both) == [
            {"role": "system", "content": "Be exact.\nBe brief."},
            user("Hi"),
        ]
        assert said(user("Hi"), system="Be exact.")[0]["content"] == "Be exact."

    def test_an_instruction_between_messages_is_the_users_but_marked(self) -> None:
        # Most templates know of one system message alone.
        marked = "<system-reminder>\nNow in French.\n</system-reminder>"
        told = {"role": "system", "content": [block("Now in French.")]}
        assert said(user("Hi"), told) == [user(f"Hi\n{marked}")]
        assert said(user("Hi"), assistant("Salut"), told) == [
            user("Hi"),
            assistant("Salut"),
            user(marked),
        ]

    def test_turns_of_one_side_are_one(self) -> None:
        assert said(
            user("One"), user([block("Two")]), assistant("Three"), assistant("Four"), user("Five")
        ) == [user("One\nTwo"), assistant("Three\nFour"), user("Five")]

    def test_images(self) -> None:
        sources = [
            {"type": "base64", "media_type": "image/png", "data": "iVBORw0="},
            {"type": "url", "url": "https://example.org/cat.jpg"},
        ]
        images = [{"type": "image", "source": source} for source in sources]
        assert said(user([*images, block("Which?")])) == [
            user(
                [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}},
                    {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}},
                    block("Which?"),
                ]
            )
        ]

    def test_a_call_and_its_result(self) -> None:
        called, told = said(assistant([block("I look."), CALL]), user([result("A cat.")]))
        arguments = called["tool_calls"][0]["function"].pop("arguments")
        assert json.loads(arguments) == CALL["input"]
        assert called == {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "look"}}],
        }
        assert told == {"role": "tool", "tool_call_id": "toolu_1", "content": "A cat."}

    def test_a_call_alone_has_no_text(self) -> None:
        called, _ = said(assistant([CALL]), user([result()]))
        assert called["content"] is None

    @pytest.mark.parametrize(
        ("content", "failed", "text"),
        [
            (None, False, ""),
            ([block("A"), block("B")], None, "A\nB"),
            ("not found", True, "Error: not found"),
            ("Error: not found", True, "Error: not found"),
            (None, True, "Error"),
        ],
    )
    def test_results(self, content: Any, failed: bool | None, text: str) -> None:
        _, told = said(assistant([CALL]), user([result(content, is_error=failed)]))
        assert told["content"] == text

    def test_several_results_come_before_what_the_user_says(self) -> None:
        second = {**CALL, "id": "toolu_2"}
        answers = [result("A"), {**result("B"), "tool_use_id": "toolu_2"}, block("Go on.")]
        _, *told = said(assistant([CALL, second]), user(answers))
        assert [(each["role"], each["content"]) for each in told] == [
            ("tool", "A"),
            ("tool", "B"),
            ("user", "Go on."),
        ]

    def test_an_image_in_a_result_follows_it(self) -> None:
        image = {"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}}
        _, told, shown = said(assistant([CALL]), user([result([block("See."), image])]))
        assert told["content"] == "See."
        assert shown == user(
            [{"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]
        )

    def test_reasoning_goes_back(self) -> None:
        thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
        called, _ = said(assistant([thought, CALL]), user([result("A")]))
        assert called["reasoning_content"] == "Hm."


class TestTools:
    def test_they_are_functions(self) -> None:
        tool = {
            **LOOK,
            "description": "Looks",
            "strict": True,
            "type": "custom",
            "cache_control": HINT,
            "eager_input_streaming": True,
            "defer_loading": False,
            "allowed_callers": ["direct"],
        }
        assert chat(tools=[tool])["tools"] == [
            {
                "type": "function",
                "function": {
                    "name": "look",
                    "parameters": LOOK["input_schema"],
                    "description": "Looks",
                    "strict": True,
                },
            }
        ]

    @pytest.mark.parametrize(
        ("choice", "made"),
        [
            ({"type": "auto"}, {"tool_choice": "auto"}),
            ({"type": "any"}, {"tool_choice": "required"}),
            ({"type": "none"}, {"tool_choice": "none"}),
            (
                {"type": "tool", "name": "look"},
                {"tool_choice": {"type": "function", "function": {"name": "look"}}},
            ),
            (
                {"type": "auto", "disable_parallel_tool_use": True},
                {"tool_choice": "auto", "parallel_tool_calls": False},
            ),
        ],
    )
    def test_the_choice(self, choice: Json, made: Json) -> None:
        chosen = chat(tools=[LOOK], tool_choice=choice)
        assert {name: chosen.get(name) for name in made} == made

    def test_json_of_a_schema(self) -> None:
        schema = {"type": "object", "properties": {"a": {"const": 1e400}}}
        schema = json.loads(json.dumps(schema).replace("Infinity", "1.50"))
        config = {"format": {"type": "json_schema", "schema": schema}, "effort": "xhigh"}
        made = chat(output_config=config)
        assert made["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        }
        assert made["reasoning_effort"] == "high"


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"container": {"id": "x"}}, "container"),
            ({"mcp_servers": []}, "mcp_servers"),
            ({"thread": {"type": "create"}}, "thread"),
            ({"speed": "fast"}, "speed"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"messages": []}, "messages"),
            ({"messages": [user([])]}, "messages.0.content"),
            ({"messages": [user("A"), assistant("B")]}, "messages.1"),
            ({"messages": [{"role": "developer", "content": "A"}]}, "messages.0.role"),
            ({"messages": [user([{"type": "document"}])]}, "messages.0.content.0.type"),
            ({"messages": [user([CALL])]}, "messages.0.content.0.type"),
            ({"messages": [user([{"type": "text"}])]}, "messages.0.content.0.text"),
            (
                {"messages": [user([{"type": "image", "source": {"type": "file"}}])]},
                "messages.0.content.0.source.type",
            ),
            (
                {"messages": [assistant([{"type": "redacted_thinking", "data": "x"}])]},
                "messages.0.content.0.type",
            ),
            ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.0.type"),
            ({"tools": [{**LOOK, "input_schema": {}}]}, "tools.0.input_schema.type"),
            ({"tools": [{**LOOK, "defer_loading": True}]}, "tools.0.defer_loading"),
            ({"tools": [{**LOOK, "input_examples": []}]}, "tools.0.input_examples"),
            ({"tool_choice": {"type": "any"}}, "tools"),
            ({"tools": [LOOK], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
            ({"context_management": {"edits": [{"type": "compact"}]}}, None),
            ({"service_tier": "batch"}, "service_tier"),
            ({"output_config": {"effort": "most"}}, "output_config.effort"),
        ],
    )
    def test_the_field_is_named(self, fields: Json, param: str | None) -> None:
        error = refused(**fields)
        if param:
            assert error.param == param
        else:
            assert str(error.param).startswith("context_management.edits.0")

    def test_what_is_missing_is_named(self) -> None:
        for name in LEAST:
            body = {key: value for key, value in LEAST.items() if key != name}
            with pytest.raises(InvalidRequest, match=f"{name} is missing"):
                MESSAGES.to_chat(json.dumps(body).encode())


class TestCount:
    def test_it_is_the_shortest_chat_with_the_prompt(self) -> None:
        body = {"model": "m", "messages": LEAST["messages"], "system": "S", "tools": [LOOK]}
        counted = json.loads(COUNT.to_chat(json.dumps(body).encode()).chat)
        assert counted == {**chat(system="S", tools=[LOOK]), "max_tokens": 1}

    def test_it_has_nothing_about_an_answer(self) -> None:
        with pytest.raises(InvalidRequest, match="max_tokens is not supported"):
            COUNT.to_chat(json.dumps(LEAST).encode())
