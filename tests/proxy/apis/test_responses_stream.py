"""A streamed chat becomes the events of the Responses API, in the order it documents."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from proxy.apis.base import ApiStream
from proxy.apis.responses import RESPONSES
from proxy.errors import DeadlineExceeded, InvalidRequest, ProxyError, RateLimited, UpstreamFailed
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

# From the examples in OpenAI's documentation: "Streaming API responses", "Function calling", the
# reference of the events, and its cookbook on models that show their reasoning.
ORDERS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("responses_events.json").read_text()
)


def new_renderer(**fields: Any) -> ApiStream:
    body = {"model": "named", "input": "Hello", "stream": True, **fields}
    return RESPONSES.to_chat(json.dumps(body).encode()).stream()


def test_each_event_is_two_lines_however_the_request_is_written() -> None:
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": None}
    fields: Any = {"tools": [tool], "tool_choice": {"type": "function", "name": "look"}}
    fields |= {"text": {"format": {"type": "json_schema", "name": "s", "schema": {}}}}
    body = json.dumps({"model": "m", "input": "Hello", "stream": True, **fields}, indent=2)
    renderer = RESPONSES.to_chat(body.encode()).stream()
    events = renderer.feed(b"".join(stream(text("Hi")))) + renderer.end()
    for each in events.removesuffix(b"\n\n").split(b"\n\n"):
        name, data = each.split(b"\n")
        assert name == b"event: " + json.loads(data.removeprefix(b"data: "))["type"].encode()
    created = json.loads(events.split(b"\n")[1].removeprefix(b"data: "))["response"]
    assert {name: created[name] for name in fields} == fields


def rendered(events: Iterable[bytes], renderer: ApiStream | None = None) -> bytes:
    renderer = renderer or new_renderer()
    return b"".join([*map(renderer.feed, events), renderer.end()])


def read(data: bytes) -> list[Json]:
    """Each event's data; its name is in it, too, and its number is its place."""
    found = []
    for number, each in enumerate(data.decode().split("\n\n")[:-1]):
        name, said = each.split("\n")
        parsed = json.loads(said.removeprefix("data: "))
        assert name == f"event: {parsed['type']}"
        assert parsed["sequence_number"] == number
        found.append(parsed)
    return found


def order(events: Iterable[Json]) -> list[str]:
    """What each event is, without what it says."""
    return [
        " ".join(
            str(part)
            for part in (
                said["type"],
                said.get("item", {}).get("type"),
                said.get("output_index"),
            )
            if part is not None
        )
        for said in events
    ]


def output(data: bytes) -> list[Json]:
    """What the whole answer has at the end."""
    items: list[Json] = read(data)[-1]["response"]["output"]
    return items


class Client:
    """The official client, which is answered with the data at hand."""

    def __init__(self) -> None:
        self._data = b""
        http = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self._client = openai.OpenAI(api_key="key", base_url="http://x", http_client=http)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content=self._data)

    def read(self, data: bytes) -> tuple[Response, list[Any]]:
        """The answer at its end, and the events."""
        self._data = data
        events = list(self._client.responses.create(model="named", input="Hello", stream=True))
        return events[-1].response, events  # type: ignore[union-attr]

    def read_to_its_end(self, data: bytes) -> Response:
        """What the client puts together, of an answer that is complete."""
        self._data = data
        with self._client.responses.stream(model="named", input="Hello") as stream:
            return stream.get_final_response()

    def read_chat(self, events: list[bytes]) -> ChatCompletion:
        """The same of a chat."""
        self._data = b"".join(events)
        with self._client.chat.completions.stream(model="named", messages=[]) as stream:
            for _ in stream:
                pass
            return stream.current_completion_snapshot


@cache
def client() -> Client:
    return Client()


class TestOrder:
    @pytest.mark.parametrize(
        ("name", "events"),
        [
            ("text", stream(text("Hello", "!"))),
            ("function call", stream(call(0, "look", '{"city"', ':"Oslo"}'))),
            (
                "parallel function calls",
                stream(call(0, "look", '{"a"', ":1}"), call(1, "read", '{"b"', ":2}")),
            ),
            ("refusal", stream([chunk({"refusal": "I"}), chunk({"refusal": " won't."})])),
            ("reasoning", stream(reasoning("Well", "…"), text("So", "."))),
            ("reasoning", stream(reasoning("Well", "…", name="reasoning"), text("So", "."))),
        ],
    )
    def test_it_is_that_of_the_documentation(self, name: str, events: list[bytes]) -> None:
        assert order(read(rendered(events))) == ORDERS[name]

    def test_an_answer_without_a_word_has_an_empty_text(self) -> None:
        told = [
            each for each in ORDERS["text"] if not each.startswith("response.output_text.delta")
        ]
        assert order(read(rendered(stream()))) == told

    def test_a_text_is_told_under_the_same_ids(self) -> None:
        events = read(rendered(stream(text("Grüße", ' "100%"'))))
        created, progress, added, part, first, second, said, part_done, done, completed = events
        item = added["item"]
        assert item["id"].startswith("msg_")
        assert (item["status"], item["content"]) == ("in_progress", [])
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        for each in (part, first, second, said, part_done):
            assert place.items() <= each.items()
        whole = {"type": "output_text", "text": 'Grüße "100%"', "annotations": [], "logprobs": []}
        assert part["part"] == {**whole, "text": ""}
        assert [first["delta"], second["delta"]] == ["Grüße", ' "100%"']
        assert first["logprobs"] == said["logprobs"] == []
        assert (said["text"], part_done["part"]) == (whole["text"], whole)
        assert done["item"] == {**item, "status": "completed", "content": [whole]}
        assert completed["response"]["output"] == [done["item"]]
        for each in (created, progress):
            assert (each["response"]["status"], each["response"]["output"]) == ("in_progress", [])
            assert each["response"]["usage"] is each["response"]["completed_at"] is None
        assert len({each["response"]["id"] for each in (created, progress, completed)}) == 1

    def test_two_answers_have_no_id_in_common(self) -> None:
        one, other = (read(rendered(stream(text("x"))))[-1]["response"] for _ in range(2))
        assert one["id"] != other["id"]
        assert one["output"][0]["id"] != other["output"][0]["id"]


class TestCalls:
    def test_parallel_ones_are_told_apart(self) -> None:
        events = read(rendered(stream(call(0, "look", "{}"), call(1, "read", '{"a":', "1}"))))
        done = [each["item"] for each in events if each["type"] == "response.output_item.done"]
        assert [(item["call_id"], item["name"], item["arguments"]) for item in done] == [
            ("call_0", "look", "{}"),
            ("call_1", "read", '{"a":1}'),
        ]
        deltas = [each for each in events if each["type"].endswith("arguments.delta")]
        assert [(delta["item_id"], delta["delta"]) for delta in deltas] == [
            (done[0]["id"], "{}"),
            (done[1]["id"], '{"a":'),
            (done[1]["id"], "1}"),
        ]

    def test_those_whose_pieces_alternate_are_open_together(self) -> None:
        first, second = call(0, "look", '{"a":', "1}"), call(1, "read", '{"b":', "2}")
        mixed = [first[0], second[0], first[1], second[1], first[2], second[2]]
        renderer = new_renderer()
        assert all(renderer.feed(each) for each in mixed)  # nothing waits
        assert [item["arguments"] for item in output(rendered(stream(mixed)))] == [
            '{"a":1}',
            '{"b":2}',
        ]

    def test_those_that_have_no_index_are_told_by_their_names(self) -> None:
        def unnumbered(name: str) -> bytes:
            function = {"name": name, "arguments": "{}"}
            return chunk({"tool_calls": [{"type": "function", "function": function}]})

        items = output(rendered(stream([unnumbered("look"), unnumbered("read")])))
        assert [item["name"] for item in items] == ["look", "read"]
        ids = {item["call_id"] for item in items}
        assert len(ids) == 2
        assert all(each.startswith("call_") for each in ids)

    def test_one_begins_when_its_name_is_known(self) -> None:
        pieces: list[Json] = [
            {"id": "c", "function": {"arguments": '{"a"'}},
            {"function": {"name": "look"}},
        ]
        chunks = [chunk({"tool_calls": [{"index": 0, **piece}]}) for piece in pieces]
        (item,) = output(rendered(stream(chunks, call(0, "look", ":1}"))))
        assert (item["call_id"], item["arguments"]) == ("c", '{"a":1}')

    def test_one_that_never_gets_a_name_is_a_failure(self) -> None:
        with pytest.raises(UpstreamFailed, match="without its name"):
            rendered([chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})])

    def test_more_of_one_that_is_over_is_a_failure(self) -> None:
        renderer = new_renderer()
        blank, more = call(0, "look", " \n", "{}")[1:]
        for each in [*call(0, "look", "{}"), *text("So."), blank]:
            renderer.feed(each)
        with pytest.raises(UpstreamFailed, match="told apart"):
            renderer.feed(more)

    def test_a_namespace_comes_back(self) -> None:
        function = {"type": "function", "name": "look"}
        space = {"type": "namespace", "name": "around", "tools": [function]}
        data = rendered(stream(call(0, "around__look", "{}")), new_renderer(tools=[space]))
        (item,) = output(data)
        assert (item["namespace"], item["name"]) == ("around", "look")


class TestEnd:
    @pytest.mark.parametrize(
        ("finish_reason", "reason"),
        [("length", "max_output_tokens"), ("content_filter", "content_filter")],
    )
    def test_one_that_is_cut_off_says_why(self, finish_reason: str, reason: str) -> None:
        events = stream(reasoning("Hm"), text("Once"), finish_reason=finish_reason)
        response = read(rendered(events))[-1]
        assert response["type"] == "response.incomplete"
        assert response["response"]["status"] == "incomplete"
        assert response["response"]["incomplete_details"] == {"reason": reason}
        statuses = [item["status"] for item in response["response"]["output"]]
        assert statuses == ["completed", "incomplete"]

    def test_a_word_that_is_not_known_is_an_end(self) -> None:
        data = rendered(stream(text("Hi"), finish_reason="something_new"))
        assert read(data)[-1]["type"] == "response.completed"

    def test_usage_is_what_the_container_tells_last(self) -> None:
        told = {
            **USAGE,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
        early = event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        data = rendered([early, *text("Hi"), event({"choices": [], "usage": told})])
        assert read(data)[-1]["response"]["usage"] == {
            "input_tokens": USAGE["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
            "output_tokens": USAGE["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": USAGE["total_tokens"],
        }

    def test_usage_that_is_not_told_is_not_made_up(self) -> None:
        assert read(rendered(text("Hi")))[-1]["response"]["usage"] is None

    def test_other_choices_are_passed_over(self) -> None:
        other = event({"choices": [{"index": 1, "delta": {"content": "other"}}]})
        (item,) = output(rendered([*text("first"), other]))
        assert [part["text"] for part in item["content"]] == ["first"]


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (UpstreamFailed("the model failed"), "server_error"),
            (DeadlineExceeded("too late"), "server_error"),
            (RateLimited("too many"), "rate_limit_exceeded"),
            (InvalidRequest("too long"), "invalid_prompt"),
        ],
    )
    def test_one_ends_it_with_what_was_said_until_then(self, error: ProxyError, code: str) -> None:
        renderer = new_renderer()
        events = read(renderer.feed(text("Half")[0]) + renderer.fail(error))
        assert order(events) == [*ORDERS["text"][:5], "response.failed"]
        response = events[-1]["response"]
        assert (response["status"], response["completed_at"]) == ("failed", None)
        assert response["error"] == {"code": code, "message": error.message}
        (item,) = response["output"]
        assert (item["status"], item["content"][0]["text"]) == ("incomplete", "Half")

    def test_one_before_the_first_chunk_has_a_beginning_too(self) -> None:
        events = read(new_renderer().fail(UpstreamFailed("the model failed")))
        assert order(events) == [*ORDERS["text"][:2], "response.failed"]

    def test_one_while_events_are_made_loses_none_of_them(self) -> None:
        renderer = new_renderer()
        with pytest.raises(UpstreamFailed) as failed:
            renderer.feed(text("Half")[0] + b"data: no JSON\n\n")
        events = read(renderer.fail(failed.value))
        assert order(events) == [*ORDERS["text"][:5], "response.failed"]


@settings(deadline=None)
@given(chats(), st.lists(st.integers(1, 9), max_size=20))
def test_the_client_reads_what_the_chat_says(events: list[bytes], sizes: list[int]) -> None:
    data = rendered(grouped(events, sizes))
    chat = client().read_chat(events)
    response, told = client().read(data)
    choice = chat.choices[0]
    thought: Any = choice.message.model_extra or {}
    assert response.output_text == (choice.message.content or "")
    assert "".join(
        part.text
        for item in response.output
        if item.type == "reasoning"
        for part in item.content or ()
    ) == (thought.get("reasoning_content") or thought.get("reasoning") or "")
    calls = [
        (item.call_id, item.name, item.arguments)
        for item in response.output
        if item.type == "function_call"
    ]
    assert calls == [
        (each.id, each.function.name, each.function.arguments)
        for each in choice.message.tool_calls or ()
        if each.type == "function"
    ]
    assert response.usage
    assert chat.usage
    assert response.usage.input_tokens == chat.usage.prompt_tokens
    assert response.usage.output_tokens == chat.usage.completion_tokens
    # The pieces and the ends of the items say the same, under ids that stay.
    for index, item in enumerate(response.output):
        own = [each for each in told if getattr(each, "output_index", None) == index]
        assert own[-1].item == item
        assert {getattr(each, "item_id", item.id) for each in own} == {item.id}
        deltas = [each.delta for each in own if each.type.endswith(".delta")]
        assert "".join(deltas) == next(
            getattr(each, name)
            for each in own
            for name in ("text", "arguments")
            if each.type.endswith(f"{name}.done")
        )
    if choice.finish_reason == "length":
        assert response.status == "incomplete"
    else:
        assert response.status == "completed"
        parsed = client().read_to_its_end(data)
        assert parsed.output_text == response.output_text
        assert [item.id for item in parsed.output] == [item.id for item in response.output]
