"""A streamed chat becomes the events of Anthropic's Messages API, in the order it documents."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.apis.messages_stream import MessagesStream
from proxy.dialects.assemble import ChatAssembler
from proxy.errors import DeadlineExceeded, UpstreamFailed
from tests.proxy.apis.chats import (
    USAGE,
    call,
    chats,
    chunk,
    event,
    grouped,
    reasoning,
    stream,
    text,
)

Json = dict[str, Any]

# From the examples in Anthropic's documentation, "Streaming messages".
ORDERS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("messages_events.json").read_text()
)
TOLD = {
    "input_tokens": USAGE["prompt_tokens"],
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": USAGE["completion_tokens"],
}


def rendered(*events: bytes, stops: tuple[str, ...] = ()) -> bytes:
    renderer = MessagesStream("named", stops)
    return b"".join([*map(renderer.feed, events), renderer.end()])


def read(data: bytes) -> list[Json]:
    """Each event's data; its name is in it, too."""
    found = []
    for each in data.decode().split("\n\n")[:-1]:
        name, said = each.split("\n")
        parsed = json.loads(said.removeprefix("data: "))
        assert name == f"event: {parsed['type']}"
        found.append(parsed)
    assert data.endswith(b"\n\n") or not data
    return found


def order(events: list[Json]) -> list[str]:
    """What each event is, without what it says."""
    return [
        " ".join(
            str(part)
            for part in (
                said["type"],
                said.get("content_block", {}).get("type"),
                said.get("delta", {}).get("type"),
                said.get("index"),
            )
            if part is not None
        )
        for said in events
    ]


class Client:
    """The official client, which is answered with the data at hand."""

    def __init__(self) -> None:
        self._data = b""
        http = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self._client = anthropic.Anthropic(api_key="key", base_url="http://x", http_client=http)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=self._data)

    def read(self, data: bytes) -> anthropic.types.Message:
        self._data = data
        with self._client.messages.stream(model="named", max_tokens=1, messages=[]) as stream:
            return stream.get_final_message()


@cache
def client() -> Client:
    return Client()


def message(data: bytes) -> anthropic.types.Message:
    """What the official client makes of the events."""
    return client().read(data)


class TestOrder:
    @pytest.mark.parametrize(
        ("name", "events"),
        [
            ("text", stream(text("Hello", "!"))),
            (
                "tool use",
                stream(
                    text("Let me", " look"),
                    call(0, "look", '{"city"', ':"Oslo"}'),
                    finish_reason="tool_calls",
                ),
            ),
            ("thinking", stream(reasoning("Well", "…"), text("So."))),
        ],
    )
    def test_it_is_that_of_the_documentation(self, name: str, events: list[bytes]) -> None:
        told = order(read(rendered(*events)))
        assert [each for each in told if each != "ping"] == [
            each for each in ORDERS[name] if each != "ping"
        ]
        assert told[2] == "ping"

    def test_ids_names_and_usage(self) -> None:
        events = read(rendered(*stream(reasoning("Hm"), call(0, "look", "{}"))))
        begun = events[0]["message"]
        assert begun == {
            "id": begun["id"],
            "type": "message",
            "role": "assistant",
            "model": "named",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**TOLD, "input_tokens": 0, "output_tokens": 0},
        }
        assert begun["id"].startswith("msg_")
        blocks = [said["content_block"] for said in events if "content_block" in said]
        assert blocks == [
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "tool_use", "id": "call_0", "name": "look", "input": {}},
        ]
        assert events[-2] == {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": TOLD,
        }

    def test_calls_are_one_after_the_other(self) -> None:
        events = stream(call(0, "look", '{"a":', "1}"), call(1, "read", "{}"))
        assert order(read(rendered(*events)))[1:-2] == [
            "content_block_start tool_use 0",
            "ping",
            *["content_block_delta input_json_delta 0"] * 3,
            "content_block_stop 0",
            "content_block_start tool_use 1",
            *["content_block_delta input_json_delta 1"] * 2,
            "content_block_stop 1",
        ]

    def test_a_call_waits_for_one_that_is_not_complete(self) -> None:
        first, second = call(0, "look", '{"a":', "1}"), call(1, "read", '{"b":', "2}")
        mixed = [first[0], second[0], first[1], second[1], first[2], second[2]]
        renderer = MessagesStream("named", ())
        shown = [order(read(renderer.feed(each))) for each in mixed]
        assert shown[1] == shown[3] == []
        assert shown[4][:3] == [
            "content_block_delta input_json_delta 0",
            "content_block_stop 0",
            "content_block_start tool_use 1",
        ]
        assert order(read(renderer.feed(mixed[0]))) == []  # it says nothing more
        content = message(rendered(*stream(mixed))).content
        assert [block.input for block in content if block.type == "tool_use"] == [
            {"a": 1},
            {"b": 2},
        ]

    def test_one_without_arguments_holds_the_next_back_until_the_end(self) -> None:
        content = message(rendered(*stream(call(0, "look"), call(1, "read", '{"b":2}')))).content
        assert [(block.name, block.input) for block in content if block.type == "tool_use"] == [
            ("look", {}),
            ("read", {"b": 2}),
        ]

    def test_calls_that_have_no_index_are_told_by_their_names(self) -> None:
        def unnumbered(name: str) -> bytes:
            function = {"name": name, "arguments": "{}"}
            return chunk({"tool_calls": [{"type": "function", "function": function}]})

        content = message(rendered(*stream([unnumbered("look"), unnumbered("read")]))).content
        assert [block.name for block in content if block.type == "tool_use"] == ["look", "read"]
        ids = [block.id for block in content if block.type == "tool_use"]
        assert len(set(ids)) == 2
        assert all(each.startswith("toolu_") for each in ids)

    def test_more_of_a_call_that_is_over_is_a_failure(self) -> None:
        over = [*call(0, "look", "{}"), *text("So."), *call(0, "look", "{}")]
        with pytest.raises(UpstreamFailed, match="told apart"):
            rendered(*over)

    def test_a_call_without_a_name_is_a_failure(self) -> None:
        with pytest.raises(UpstreamFailed, match="told apart"):
            rendered(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}))


class TestEnd:
    @pytest.mark.parametrize(
        ("reason", "more", "told"),
        [
            ("stop", {}, ("end_turn", None)),
            ("length", {}, ("max_tokens", None)),
            ("content_filter", {}, ("refusal", None)),
            ("stop", {"stop_reason": "END"}, ("stop_sequence", "END")),
            ("stop", {"matched_stop": "END"}, ("stop_sequence", "END")),
            ("stop", {"stop_reason": "<|eot|>"}, ("end_turn", None)),
            ("stop", {"stop_reason": 128009}, ("end_turn", None)),
            ("something_new", {}, ("end_turn", None)),
        ],
    )
    def test_why(self, reason: str, more: Json, told: tuple[str, str | None]) -> None:
        data = rendered(*stream(text("Hi"), finish_reason=reason, **more), stops=("END",))
        delta = read(data)[-2]["delta"]
        assert (delta["stop_reason"], delta["stop_sequence"]) == told

    def test_a_call_that_the_client_has_chosen_is_one(self) -> None:
        assert message(rendered(*stream(call(0, "look", "{}")))).stop_reason == "tool_use"

    def test_a_refusal_is_shown(self) -> None:
        refused = message(rendered(*stream([chunk({"refusal": "I won't."})])))
        assert [block.text for block in refused.content if block.type == "text"] == ["I won't."]
        assert refused.stop_reason == "refusal"

    def test_cached_and_reasoning_tokens(self) -> None:
        told = {
            **USAGE,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
        usage = message(rendered(*text("Hi"), event({"choices": [], "usage": told}))).usage
        assert (usage.input_tokens, usage.cache_read_input_tokens) == (3, 8)
        assert usage.output_tokens_details
        assert usage.output_tokens_details.thinking_tokens == 2

    def test_without_usage_there_are_zeroes(self) -> None:
        usage = message(rendered(*text("Hi"))).usage
        assert (usage.input_tokens, usage.output_tokens) == (0, 0)


class TestFailures:
    def test_one_is_the_last_event_at_any_time(self) -> None:
        for events in ([], text("Hi"), call(0, "look", "{")):
            renderer = MessagesStream("named", ())
            for each in events:
                renderer.feed(each)
            assert read(renderer.fail(DeadlineExceeded("too long"))) == [
                {"type": "error", "error": {"type": "timeout_error", "message": "too long"}}
            ]

    def test_a_chats_own_event_is_passed_over(self) -> None:
        # Whoever feeds knows the failure itself.
        renderer = MessagesStream("named", ())
        assert renderer.feed(event({"error": {"message": "out of memory", "code": 500}})) == b""

    @pytest.mark.parametrize("data", [b"no JSON", b'{"choices": 1}', b"[]"])
    def test_what_is_no_chunk_is_one(self, data: bytes) -> None:
        with pytest.raises(UpstreamFailed, match="not one to a chat"):
            rendered(b"data: " + data + b"\n\n")


def test_comments_empty_data_and_other_lines_are_passed_over() -> None:
    noisy = b": a comment\r\n\r\ndata:\r\n\r\nevent: x\r\n" + text("Hi")[0].replace(b"\n", b"\r\n")
    assert [block.text for block in message(rendered(noisy)).content if block.type == "text"] == [
        "Hi"
    ]


@given(chats(), st.lists(st.integers(1, 9), max_size=20))
def test_the_client_reads_what_the_chat_says(events: list[bytes], sizes: list[int]) -> None:
    read_by_client = message(rendered(*grouped(events, sizes)))
    assembler = ChatAssembler()
    assembler.feed(b"".join(events))
    chat = msgspec.json.decode(assembler.end())
    (choice,) = chat["choices"]
    said = choice["message"]
    content = read_by_client.content
    assert "".join(block.text for block in content if block.type == "text") == (
        said["content"] or ""
    )
    assert "".join(block.thinking for block in content if block.type == "thinking") == (
        said.get("reasoning_content") or said.get("reasoning") or ""
    )
    assert [
        (block.id, block.name, block.input) for block in content if block.type == "tool_use"
    ] == [
        (each["id"], each["function"]["name"], json.loads(each["function"]["arguments"]))
        for each in said.get("tool_calls", ())
    ]
    assert read_by_client.usage.input_tokens == chat["usage"]["prompt_tokens"]
    assert read_by_client.usage.output_tokens == chat["usage"]["completion_tokens"]
    reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
    assert read_by_client.stop_reason == reasons[choice["finish_reason"]]
