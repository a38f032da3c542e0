"""TGI's tokens become OpenAI's answers."""

import json
from functools import cache

import pytest
from hypothesis import given
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.dialects.base import Operation, Settings, Stream, Usage
from proxy.errors import InvalidRequest, UpstreamFailed
from tests.emulator.containers import tgi, wording
from tests.emulator.containers.writer import heard
from tests.proxy.dialects.asking import (
    Json,
    answers,
    ask_whole,
    events,
    pieces,
    places,
    read_stream,
    read_whole,
    render,
    said,
    without_identity,
)

CHATML = Settings(chat_template="chatml")
QUESTION = "How are you? é🦉"
PROMPT = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
ANSWER = wording.answer(heard(PROMPT))
CHAT: Json = {"messages": [{"role": "user", "content": QUESTION}]}
TEXT: Json = {"prompt": QUESTION}


def stream_of(operation: Operation, body: Json) -> Stream:
    reader = render("tgi", operation, {**body, "stream": True}, CHATML).reader
    assert isinstance(reader, Stream)
    return reader


@cache
def streamed(operation: Operation, options: str, fails_after: int | None = None) -> bytes:
    """What the container sends for a stream."""
    body = CHAT if operation is Operation.CHAT else TEXT
    rendered = render("tgi", operation, {**body, **json.loads(options), "stream": True}, CHATML)
    ((status, data),) = answers(tgi.application(fails_after), rendered.bodies)
    assert status == 200
    return data


class TestWhole:
    def test_a_chat_is_answered(self) -> None:
        answer, reader = ask_whole("tgi", tgi.application(), Operation.CHAT, CHAT, CHATML)
        completion = ChatCompletion.model_validate(answer, strict=True)
        assert completion.model == "public"
        assert completion.id.startswith("chatcmpl-")
        (choice,) = completion.choices
        assert choice.message.content == ANSWER
        assert choice.finish_reason == "stop"
        assert "usage" not in answer  # the container tells but one of the counts
        assert reader.usage is not None
        assert reader.usage.prompt_tokens is None
        assert reader.usage.completion_tokens == len(wording.tokens(ANSWER)) + 1

    def test_several_prompts_are_answered_in_order(self) -> None:
        body = {"prompt": ["one", "two"], "max_tokens": 3}
        answer, reader = ask_whole("tgi", tgi.application(), Operation.COMPLETIONS, body)
        completion = Completion.model_validate(answer, strict=True)
        expected = ["".join(wording.tokens(wording.answer(text))[:3]) for text in ("one", "two")]
        assert [choice.text for choice in completion.choices] == expected
        assert [choice.index for choice in completion.choices] == [0, 1]
        assert {choice.finish_reason for choice in completion.choices} == {"length"}
        assert reader.usage == Usage(None, 6)

    def test_the_stop_sequence_is_cut(self) -> None:
        text = wording.answer(QUESTION)
        stop = wording.tokens(text)[4].strip()
        body = {**TEXT, "stop": stop}
        answer, _ = ask_whole("tgi", tgi.application(), Operation.COMPLETIONS, body)
        (choice,) = answer["choices"]
        assert choice["text"] == text[: text.index(stop)]
        assert choice["finish_reason"] == "stop"

    def test_the_templates_end_is_cut(self) -> None:
        reader = render("tgi", Operation.CHAT, CHAT, CHATML).reader
        answer = json.loads(read_whole(reader, [b'[{"generated_text": "Hello<|im_end|>\\n"}]']))
        assert answer["choices"][0]["message"]["content"] == "Hello"

    @pytest.mark.parametrize(
        "body", [b"[]", b"{}", b'{"generated_text": 7}', b"[7]", b"x", b'[{"text": "a"}]', b"7"]
    )
    def test_another_answer_is_refused(self, body: bytes) -> None:
        reader = render("tgi", Operation.COMPLETIONS, TEXT, Settings()).reader
        with pytest.raises(UpstreamFailed, match="dialect 'tgi'"):
            read_whole(reader, [body])

    def test_the_containers_refusal_has_its_status(self) -> None:
        container = tgi.application()
        body = b'{"inputs": "a", "parameters": {"temperature": 0}}'
        ((status, answer),) = answers(container, [body])
        assert status == 422
        assert json.loads(answer)["error_type"] == "validation"


class TestStream:
    def test_a_chat_is_streamed(self) -> None:
        data = streamed(Operation.CHAT, '{"stream_options": {"include_usage": true}}')
        stream = stream_of(Operation.CHAT, {**CHAT, "stream_options": {"include_usage": True}})
        found = events(read_stream(stream, [data]))
        for event in found[:-1]:
            ChatCompletionChunk.model_validate(event, strict=True)
        delta = {"role": "assistant", "content": "", "refusal": None}
        assert found[0]["choices"][0]["delta"] == delta
        assert said(found) == ANSWER
        assert [choice["finish_reason"] for event in found[:-2] for choice in event["choices"]] == [
            *[None] * (len(found) - 3),
            "stop",
        ]
        assert all(event["usage"] is None for event in found[:-2])
        assert found[-2]["choices"] == []
        prompt, completion = (
            len(wording.tokens(PROMPT)),
            len(wording.tokens(ANSWER)) + 1,
        )
        assert found[-2]["usage"] == {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        assert found[-1] == "[DONE]"
        assert stream.usage == Usage(prompt, completion)
        assert stream.error is None

    def test_without_demand_there_is_no_usage(self) -> None:
        data = streamed(Operation.COMPLETIONS, '{"max_tokens": 4}')
        stream = stream_of(Operation.COMPLETIONS, TEXT)
        found = events(read_stream(stream, [data]))
        for event in found[:-1]:
            assert "usage" not in event
            assert event["object"] == "text_completion"
        assert said(found) == "".join(wording.tokens(wording.answer(QUESTION))[:4])
        assert found[-2]["choices"][0]["finish_reason"] == "length"
        assert stream.usage is not None

    @given(places)
    def test_cuts_change_nothing(self, cuts: list[int]) -> None:
        text = wording.answer(QUESTION)
        stop = wording.tokens(text)[6].strip()
        options = {"stop": stop}
        data = streamed(Operation.COMPLETIONS, json.dumps(options))
        whole = read_stream(stream_of(Operation.COMPLETIONS, {**TEXT, **options}), [data])
        stream = stream_of(Operation.COMPLETIONS, {**TEXT, **options})
        cut = events(read_stream(stream, pieces(data, cuts)))
        assert list(map(without_identity, cut)) == list(map(without_identity, events(whole)))
        assert said(cut) == text[: text.index(stop)]
        assert cut[-2]["choices"][0]["finish_reason"] == "stop"

    def test_the_start_of_a_stop_at_the_end_is_text(self) -> None:
        text = wording.answer(QUESTION)
        options = {"stop": f"{text[-3:]} and more"}
        data = streamed(Operation.COMPLETIONS, json.dumps(options))
        stream = stream_of(Operation.COMPLETIONS, {**TEXT, **options})
        assert said(events(read_stream(stream, [data]))) == text

    @given(places)
    def test_a_failure_ends_the_stream_with_its_event(self, cuts: list[int]) -> None:
        data = streamed(Operation.CHAT, "{}", fails_after=3)
        stream = stream_of(Operation.CHAT, CHAT)
        found = events(read_stream(stream, pieces(data, cuts)))
        assert len(found) == 5
        assert found[-1]["error"]["type"] == "server_error"
        assert "CUDA out of memory" in found[-1]["error"]["message"]
        assert isinstance(stream.error, UpstreamFailed)
        assert stream.feed(b"data:{}\n\n") == stream.end() == b""

    def test_a_refusal_in_the_stream_is_the_clients_error_before_anything_is_sent(self) -> None:
        request = b'{"inputs": "a", "parameters": {"temperature": 0}, "stream": true}'
        ((status, data),) = answers(tgi.application(), [request])
        assert status == 200
        stream = stream_of(Operation.CHAT, CHAT)
        (event,) = events(stream.feed(data))
        assert event["error"]["type"] == "invalid_request_error"
        assert isinstance(stream.error, InvalidRequest)

    def test_an_early_end_is_a_failure(self) -> None:
        data = streamed(Operation.CHAT, "{}")
        stream = stream_of(Operation.CHAT, CHAT)
        stream.feed(data[: data.index(b"\n\n") + 2])
        (event,) = events(stream.end())
        assert "ended before" in event["error"]["message"]
        assert isinstance(stream.error, UpstreamFailed)

    @pytest.mark.parametrize("line", [b"data:x\n", b"data:{}\n", b"[]\n", b'{"token": {}}\n'])
    def test_something_else_is_a_failure(self, line: bytes) -> None:
        stream = stream_of(Operation.CHAT, CHAT)
        (event,) = events(stream.feed(line))
        assert "dialect 'tgi'" in event["error"]["message"]
