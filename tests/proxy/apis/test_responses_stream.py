"""A streamed chat becomes the events of the Responses API, in the order that is published."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from proxy.apis.base import ApiStream
from proxy.apis.responses import RESPONSES
from proxy.errors import DeadlineExceeded, InvalidRequest, ProxyError, RateLimited, UpstreamFailed

Json = dict[str, Any]

BEGINNING = ["response.created", "response.in_progress"]
TEXT = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
REASONING = [name.replace("output_text", "reasoning_text") for name in TEXT]
REFUSAL = [name.replace("output_text", "refusal") for name in TEXT]
CALL = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]
COMPLETED = ["response.completed"]
DONE = b"data: [DONE]\n\n"


def new_stream(**fields: Any) -> ApiStream:
    body = {"model": "llama", "input": "Hello", "stream": True, **fields}
    return RESPONSES.to_chat(json.dumps(body).encode()).stream()


def chunk(delta: Json | None = None, finish_reason: str | None = None, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}]
    said = {"object": "chat.completion.chunk", "model": "m", "choices": choices, **more}
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def call(index: int | None, arguments: str, name: str | None = None, **more: Any) -> Json:
    piece = {"index": index, "function": {"name": name, "arguments": arguments}, **more}
    return {"tool_calls": [piece]}


def read(events: bytes) -> list[Json]:
    """The events' data, of which each names its event."""
    found = []
    for event in events.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        said = json.loads(data.removeprefix("data: "))
        assert name == f"event: {said['type']}"
        found.append(said)
    return found


def render(chunks: Iterable[bytes], stream: ApiStream | None = None) -> list[Json]:
    stream = stream or new_stream()
    return read(b"".join([*map(stream.feed, chunks), stream.end()]))


def types(events: Iterable[Json]) -> list[str]:
    """The types, of which deltas that follow each other are one."""
    found: list[str] = []
    for event in events:
        if not (found and found[-1] == event["type"] and event["type"].endswith(".delta")):
            found.append(event["type"])
    return found


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([{"role": "assistant", "content": ""}, {"content": "Hi"}, {"content": "!"}], TEXT),
        ([{"reasoning_content": "Hm"}, {"reasoning": "."}, {"content": "Hi"}], REASONING + TEXT),
        ([{"refusal": "No"}, {"refusal": "."}], REFUSAL),
        ([call(0, "", "f", id="c"), call(0, '{"a"'), call(0, ":1}")], CALL),
        ([{"content": "I look."}, call(0, "{}", "f", id="c")], TEXT + CALL),
        (
            [call(0, "", "f", id="a"), call(0, "{}"), call(1, "", "f", id="b"), call(1, "{}")],
            CALL + CALL,
        ),
        ([], [name for name in TEXT if not name.endswith(".delta")]),
    ],
    ids=["text", "reasoning", "refusal", "call", "text and call", "parallel calls", "nothing"],
)
def test_events_are_in_the_order_that_is_published(deltas: list[Json], expected: list[str]) -> None:
    events = render([*map(chunk, deltas), chunk(finish_reason="stop"), DONE])
    assert types(events) == BEGINNING + expected + COMPLETED
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_a_texts_events_carry_it_under_the_same_ids() -> None:
    events = render([chunk({"content": "Grüße"}), chunk({"content": ' "100%"'}, "stop"), DONE])
    created, progress, added, part, first, second, text, part_done, done, completed = events
    item = added["item"]
    assert item["id"].startswith("msg_")
    assert (item["status"], item["content"]) == ("in_progress", [])
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    for event in (part, first, second, text, part_done):
        assert place.items() <= event.items()
    whole = {"type": "output_text", "text": 'Grüße "100%"', "annotations": [], "logprobs": []}
    assert part["part"] == {**whole, "text": ""}
    assert [(event["delta"], event["logprobs"]) for event in (first, second)] == [
        ("Grüße", []),
        (' "100%"', []),
    ]
    assert (text["text"], part_done["part"]) == (whole["text"], whole)
    assert done["item"] == {**item, "status": "completed", "content": [whole]}
    assert done["output_index"] == 0
    assert completed["response"]["output"] == [done["item"]]
    assert completed["response"]["status"] == "completed"
    for event in (created, progress):
        assert event["response"]["status"] == "in_progress"
        assert event["response"]["output"] == []
        assert event["response"]["usage"] is event["response"]["completed_at"] is None
    assert len({event["response"]["id"] for event in (created, progress, completed)}) == 1


def test_parallel_calls_are_told_apart() -> None:
    chunks = [
        chunk(call(0, "", "f", id="call_a")),
        chunk(call(0, '{"a":')),
        chunk(call(0, "1}")),
        chunk(call(1, '{"b":2}', "g", id="call_b"), "tool_calls"),
        DONE,
    ]
    events = render(chunks)
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [(item["call_id"], item["name"], item["arguments"]) for item in items] == [
        ("call_a", "f", '{"a":1}'),
        ("call_b", "g", '{"b":2}'),
    ]
    deltas = [event for event in events if event["type"].endswith("arguments.delta")]
    assert [(delta["output_index"], delta["delta"]) for delta in deltas] == [
        (0, '{"a":'),
        (0, "1}"),
        (1, '{"b":2}'),
    ]
    assert [delta["item_id"] for delta in deltas] == [items[0]["id"]] * 2 + [items[1]["id"]]
    assert events[-1]["response"]["output"] == items


def test_calls_whose_pieces_alternate_are_open_together() -> None:
    chunks = [
        chunk(call(0, '{"a":', "f", id="a")),
        chunk(call(1, '{"b":', "g", id="b")),
        chunk(call(0, "1}")),
        chunk(call(1, "2}")),
    ]
    output = render(chunks)[-1]["response"]["output"]
    assert [item["arguments"] for item in output] == ['{"a":1}', '{"b":2}']


def test_calls_without_an_index_begin_with_their_id() -> None:
    chunks = [chunk(call(None, "{}", "f", id="a")), chunk(call(None, "{}", "f", id="b"))]
    output = render(chunks)[-1]["response"]["output"]
    assert [item["call_id"] for item in output] == ["a", "b"]


def test_a_call_begins_when_its_name_is_known() -> None:
    chunks = [chunk(call(0, '{"a"', id="c")), chunk(call(0, ":1}", "f"))]
    events = render(chunks)
    assert types(events) == BEGINNING + CALL + COMPLETED
    assert events[-1]["response"]["output"][0]["arguments"] == '{"a":1}'


def test_one_that_never_gets_a_name_is_the_models_failure() -> None:
    with pytest.raises(UpstreamFailed, match="without its name"):
        render([chunk(call(0, "{}", id="c"))])


def test_a_call_that_goes_on_behind_its_end_is_the_models_failure() -> None:
    stream = new_stream()
    stream.feed(chunk(call(0, "{}", "f", id="a")) + chunk(call(1, "{}", "f", id="b")))
    stream.feed(chunk(call(0, " \n")))  # says nothing
    with pytest.raises(UpstreamFailed, match="told apart"):
        stream.feed(chunk(call(0, "{}")))


def test_a_namespace_comes_back() -> None:
    function = {"type": "function", "name": "f"}
    stream = new_stream(tools=[{"type": "namespace", "name": "n", "tools": [function]}])
    events = render([chunk(call(0, "{}", "n__f", id="c"))], stream)
    (item,) = events[-1]["response"]["output"]
    assert (item["namespace"], item["name"]) == ("n", "f")


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_an_answer_that_is_cut_off_ends_as_incomplete(finish_reason: str, reason: str) -> None:
    chunks = [chunk({"reasoning": "Hm"}), chunk({"content": "Once"}, finish_reason), DONE]
    events = render(chunks)
    assert types(events) == BEGINNING + REASONING + TEXT + ["response.incomplete"]
    response = events[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": reason},
    )
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]


def test_usage_is_what_the_container_tells_last() -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    last = {**counts, "completion_tokens": 5, "total_tokens": 8}
    usage = b"data: " + json.dumps({"choices": [], "usage": last}).encode() + b"\n\n"
    events = render([chunk({"content": "x"}, "stop", usage=counts), usage, DONE])
    assert events[-1]["response"]["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }


def test_other_choices_are_passed_over() -> None:
    other = b'data: {"choices":[{"index":1,"delta":{"content":"other"}}]}\n\n'
    output = render([chunk({"content": "first"}), other])[-1]["response"]["output"]
    assert [item["content"][0]["text"] for item in output] == ["first"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamFailed("the model failed"), "server_error"),
        (DeadlineExceeded("too late"), "server_error"),
        (RateLimited("too many"), "rate_limit_exceeded"),
        (InvalidRequest("too long"), "invalid_prompt"),
    ],
)
def test_a_failure_ends_it_with_what_was_said_until_then(error: ProxyError, code: str) -> None:
    stream = new_stream()
    events = read(stream.feed(chunk({"content": "Half"})) + stream.fail(error))
    assert types(events) == BEGINNING + TEXT[:3] + ["response.failed"]
    response = events[-1]["response"]
    assert (response["status"], response["completed_at"]) == ("failed", None)
    assert response["error"] == {"code": code, "message": error.message}
    (item,) = response["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "Half")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_a_failure_before_the_first_chunk_has_a_beginning_too() -> None:
    events = read(new_stream().fail(UpstreamFailed("the model failed")))
    assert types(events) == [*BEGINNING, "response.failed"]


def test_a_failure_while_events_are_made_loses_none_of_them() -> None:
    stream = new_stream()
    with pytest.raises(UpstreamFailed) as failed:
        stream.feed(chunk({"content": "Half"}) + b"data: no JSON\n\n")
    assert types(read(stream.fail(failed.value)))[-2:] == [TEXT[2], "response.failed"]


def test_two_streams_have_no_id_in_common() -> None:
    one, other = (render([chunk({"content": "x"})])[-1]["response"] for _ in range(2))
    assert one["id"] != other["id"]
    assert one["output"][0]["id"] != other["output"][0]["id"]
