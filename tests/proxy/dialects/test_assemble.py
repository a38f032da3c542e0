"""A stream put together is the answer that would have come at once."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.assemble import ChatAssembler, as_stream
from proxy.dialects.base import Operation, Settings, Stream
from proxy.errors import InvalidRequest, UpstreamFailed
from tests.emulator.containers import lmi, tgi
from tests.emulator.containers import openai_shapes as shapes
from tests.emulator.containers.chat_model import ChatModel
from tests.proxy.dialects.asking import (
    answers,
    ask_whole,
    pieces,
    places,
    read_stream,
    render,
)

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def stream(*chunks: dict[str, Any], done: bool = True) -> bytes:
    data = [f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks]
    return "".join([*data, "data: [DONE]\n\n" if done else ""]).encode()


def chunk(delta: dict[str, Any], index: int = 0, **choice: Any) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": index, "delta": delta, "finish_reason": None, **choice}],
    }


def assemble(data: bytes) -> dict[str, Any]:
    assembler = ChatAssembler()
    assembler.feed(data)
    answer: dict[str, Any] = json.loads(assembler.end())
    return answer


def without_empty(value: Any) -> Any:
    """A whole answer also shows what it has not, as null or as an empty list."""
    if isinstance(value, dict):
        return {key: without_empty(item) for key, item in value.items() if item not in (None, [])}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


@given(
    st.text(max_size=50),
    st.booleans(),
    st.none() | st.integers(min_value=1, max_value=60),
    st.booleans(),
    places,
)
def test_it_equals_the_answer_at_once(
    question: str, tools: bool, limit: int | None, crlf: bool, cuts: list[int]
) -> None:
    content = f"get weather in {question}" if tools else question
    body = {
        "messages": [{"role": "user", "content": content}],
        "max_tokens": limit,
        "tools": [TOOL] if tools else None,
    }
    reply = ChatModel(("m",)).chat(body)
    whole = shapes.chat_completion(reply, "chatcmpl-0123456789")
    chunks = shapes.chat_chunks(reply, "chatcmpl-0123456789", include_usage=True)
    data = stream(*chunks)
    assembler = ChatAssembler()
    for piece in pieces(data.replace(b"\n", b"\r\n") if crlf else data, cuts):
        assembler.feed(piece)
    answer = json.loads(assembler.end())
    assert without_empty(answer) == without_empty(whole)
    message = answer["choices"][0]["message"]
    assert message["content"] == whole["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("dialect", "container", "ignored"),
    [("tgi", tgi.application, ()), ("lmi", lmi.application, ("tool_calls", "stop_reason"))],
)
def test_what_other_dialects_render_can_be_assembled(
    dialect: str, container: Callable[[], web.Application], ignored: tuple[str, ...]
) -> None:
    def known(answer: dict[str, Any]) -> dict[str, Any]:
        (choice,) = answer["choices"]
        fields = {**choice, **choice["message"]}
        return {key: fields[key] for key in fields if key not in (*ignored, "message")}

    settings = Settings(chat_template="chatml", served_model="")
    body = {"messages": [{"role": "user", "content": "How are you? é🦉"}]}
    whole, _ = ask_whole(dialect, container(), Operation.CHAT, body, settings)
    rendered = render(dialect, Operation.CHAT, {**body, "stream": True}, settings)
    assert isinstance(rendered.reader, Stream)
    ((_, data),) = answers(container(), rendered.bodies)
    assert known(assemble(read_stream(rendered.reader, [data]))) == known(whole)


def test_parallel_tool_calls_come_together_by_index() -> None:
    def call(index: int, **fields: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, **fields}]}

    answer = assemble(
        stream(
            chunk({"role": "assistant", "content": None}),
            chunk(
                call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
            ),
            chunk(call(1, id="b", type="function", function={"name": "g", "arguments": "{"})),
            chunk(call(0, function={"name": "f", "arguments": '{"x":'})),
            chunk(call(1, id="b", function={"arguments": "}"})),
            chunk(call(0, function={"arguments": "1}"})),
            chunk({}, finish_reason="tool_calls"),
        )
    )
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


def test_choices_reasoning_refusal_logprobs_and_the_unknown_are_kept() -> None:
    def logprobs(*tokens: str) -> dict[str, Any]:
        return {"content": [{"token": token, "logprob": -1} for token in tokens]}

    answer = assemble(
        stream(
            chunk({"role": "assistant", "content": "", "reasoning_content": ""}, 1),
            chunk({"role": "assistant", "reasoning": "so "}, 0, logprobs=None),
            chunk({"reasoning": "so", "annotations": [{"n": 1}]}, 0, logprobs=logprobs("a")),
            chunk({"reasoning_content": "hm"}, 1),
            chunk({"content": "é", "annotations": [{"n": 2}]}, 0, logprobs=logprobs("b", "c")),
            chunk({"refusal": "I "}, 1),
            chunk({"refusal": "won't", "score": 1}, 1),
            chunk({"score": 2}, 1, finish_reason="stop", stop_reason=7),
            {**chunk({"content": "!"}, 0, finish_reason="length"), "system_fingerprint": "fp"},
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "x": 3}},
        )
    )
    assert answer == {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "é!",
                    "reasoning": "so so",
                    "annotations": [{"n": 1}, {"n": 2}],
                },
                "logprobs": logprobs("a", "b", "c"),
                "finish_reason": "length",
            },
            {
                "index": 1,
                "message": {
                    "role": "assistant",
                    "content": "",
                    "reasoning_content": "hm",
                    "refusal": "I won't",
                    "score": 2,
                },
                "finish_reason": "stop",
                "stop_reason": 7,
            },
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "x": 3},
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        stream(),
        stream(chunk({"content": "a"})),
        stream(chunk({"content": "a"}, finish_reason="stop"), done=False),
        stream(chunk({}, 0, finish_reason="stop"), chunk({}, 1)),
    ],
)
def test_an_early_end_is_a_failure(data: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="ended before"):
        assemble(data)


def test_tool_calls_without_an_index_begin_with_an_id_or_a_name() -> None:
    def calls(*found: dict[str, Any]) -> dict[str, Any]:
        return chunk({"tool_calls": list(found)})

    def function(name: str, arguments: str) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": arguments}}

    answer = assemble(
        stream(
            calls({"id": "a", **function("f", "{")}),
            calls({"id": "a", "function": {"arguments": '"x":'}}),
            calls({"function": {"arguments": "1}"}}),
            calls({"id": "b", **function("g", "{}")}, {"id": "a", "type": "function"}),
            calls(function("h", "{}"), function("h", "{}")),
            chunk({}, finish_reason="tool_calls"),
        )
    )
    assert answer["choices"][0]["message"]["tool_calls"] == [
        {"id": "a", "type": "function", **function("f", '{"x":1}')},
        {"id": "b", **function("g", "{}")},
        function("h", "{}"),
        function("h", "{}"),
    ]


def test_an_unknown_text_that_is_always_the_same_comes_whole() -> None:
    answer = assemble(
        stream(
            chunk({"content": "ha", "phase": "final", "new": "a"}),
            chunk({"content": "ha", "phase": "final", "new": "b"}),
            chunk({}, finish_reason="stop"),
        )
    )
    message = answer["choices"][0]["message"]
    assert (message["content"], message["phase"], message["new"]) == ("haha", "final", "ab")


def test_many_tokens_with_their_probabilities_take_time_in_proportion() -> None:
    def seconds(number: int) -> float:
        token = chunk({"content": "a"}, logprobs={"content": [{"token": "a"}]})
        data = stream(*[token] * number, chunk({}, finish_reason="stop"))
        began = time.process_time()
        assert len(assemble(data)["choices"][0]["logprobs"]["content"]) == number
        return time.process_time() - began

    assert seconds(40_000) < 14 * seconds(5_000)  # the square of eight would be 64


def test_an_answer_that_grows_too_large_is_a_failure() -> None:
    data = stream(chunk({"content": "a"}), done=False)
    assembler = ChatAssembler(most_bytes=2 * len(data))
    assembler.feed(data)
    assembler.feed(data)
    with pytest.raises(UpstreamFailed, match="too large"):
        assembler.feed(data)


@pytest.mark.parametrize(
    "line",
    [
        "x",
        "[]",
        "{}",
        '{"choices": 7}',
        '{"choices": {}}',
        '{"choices": [7]}',
        '{"choices": [{"index": "a", "delta": 7}, {"index": 1}]}',
        '{"choices": [{"delta": "a", "finish_reason": "stop"}]}',
        '{"choices": [{"index": [], "delta": {}}]}',
        '{"choices": [{"index": "1", "finish_reason": "a"}, {"index": 0, "finish_reason": "a"}]}',
        '{"choices": [{"index": true, "delta": {}, "finish_reason": "stop"}]}',
    ],
)
def test_what_is_no_chunk_is_a_failure(line: str) -> None:
    with pytest.raises(UpstreamFailed):
        assemble(f"data: {line}\n\ndata: [DONE]\n\n".encode())


class TestAsStream:
    def test_the_rest_of_the_bytes_stay_as_they_were(self) -> None:
        body = b'{ "model":"m", "stream" : false, "x": 1E+2, "messages": [] }'
        assert as_stream(body) == (
            b'{"stream_options":{"include_usage":true}, "model":"m", "stream" : true, "x": 1E+2, '
            b'"messages": [] }'
        )

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            (b"null", b'{"include_usage":true}'),
            (b"{}", b'{"include_usage":true}'),
            (b'{"include_usage": false, "x": 1}', b'{"include_usage": true, "x": 1}'),
        ],
    )
    def test_other_options_are_kept(self, options: bytes, expected: bytes) -> None:
        body = b'{"stream": true, "stream_options": ' + options + b"}"
        assert as_stream(body) == b'{"stream": true, "stream_options": ' + expected + b"}"

    def test_options_that_are_none_are_refused(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            as_stream(b'{"stream_options": 7}')
        assert caught.value.param == "stream_options"
