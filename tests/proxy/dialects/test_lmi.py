"""LMI's JSON lines become OpenAI's events."""

import json
from functools import cache

import pytest
from hypothesis import given
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from proxy.dialects.base import Operation, Settings, Stream, Usage
from proxy.errors import InvalidRequest, UpstreamFailed
from tests.emulator.containers import lmi, wording
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

QUESTION = "How are you? é🦉"
CHAT: Json = {"messages": [{"role": "user", "content": QUESTION}]}
TEXT: Json = {"prompt": QUESTION, "max_tokens": 12}
FORMATTERS = ["jsonlines", "sse"]


def stream_of(operation: Operation, body: Json) -> Stream:
    reader = render("lmi", operation, {**body, "stream": True}, Settings()).reader
    assert isinstance(reader, Stream)
    return reader


@cache
def streamed(
    operation: Operation, formatter: str, own_words: bool = False, fails_after: int | None = None
) -> bytes:
    """What the container sends for a stream."""
    body = CHAT if operation is Operation.CHAT else TEXT
    options = {"stream": True, "stream_options": {"include_usage": True}}
    container = lmi.application(formatter, own_words=own_words, fails_after=fails_after)
    ((status, data),) = answers(
        container, render("lmi", operation, {**body, **options}, Settings()).bodies
    )
    assert status == 200
    return data


class TestChat:
    def test_the_body_goes_through(self) -> None:
        body = b'{"model": "m",  "messages": [], "tools": [1], "n": 2}'
        rendered = render("lmi", Operation.CHAT, json.loads(body), Settings())
        assert json.loads(rendered.bodies[0])["tools"] == [1]
        named = render("lmi", Operation.CHAT, json.loads(body), Settings(served_model="served"))
        assert json.loads(named.bodies[0])["model"] == "served"

    def test_an_answer_that_is_openais_stays_as_it_is(self) -> None:
        rendered = render("lmi", Operation.CHAT, CHAT, Settings())
        ((_, answer),) = answers(lmi.application(), rendered.bodies)
        assert read_whole(rendered.reader, [answer]) == answer
        assert rendered.reader.usage is not None
        assert rendered.reader.usage.prompt_tokens

    def test_its_own_name_or_none_is_wanted_since_vllm_is_inside(self) -> None:
        for served, expected in (("lmi", 200), ("", 200), (None, 424)):
            rendered = render("lmi", Operation.CHAT, CHAT, Settings(served_model=served))
            ((status, _),) = answers(lmi.application(vllm=True), rendered.bodies)
            assert status == expected

    def test_an_answer_in_its_own_words_is_put_into_openais(self) -> None:
        answer, _ = ask_whole("lmi", lmi.application(own_words=True), Operation.CHAT, CHAT)
        completion = ChatCompletion.model_validate(answer, strict=True)
        assert completion.model == "public"
        assert completion.choices[0].finish_reason == "stop"
        assert completion.choices[0].message.content == wording.answer(QUESTION)

    @pytest.mark.parametrize("formatter", FORMATTERS)
    @pytest.mark.parametrize("own_words", [False, True])
    def test_lines_become_events(self, formatter: str, own_words: bool) -> None:
        stream = stream_of(Operation.CHAT, CHAT)
        found = events(read_stream(stream, [streamed(Operation.CHAT, formatter, own_words)]))
        for event in found[:-1]:
            ChatCompletionChunk.model_validate(event, strict=True)
        assert said(found) == wording.answer(QUESTION)
        assert found[-3]["choices"][0]["finish_reason"] == "stop"
        assert found[-2]["choices"] == []
        assert found[-1] == "[DONE]"
        assert stream.usage is not None
        assert stream.usage.completion_tokens == found[-2]["usage"]["completion_tokens"]

    def test_a_chunk_that_is_openais_stays_as_it_is(self) -> None:
        data = streamed(Operation.CHAT, "jsonlines")
        rendered = read_stream(stream_of(Operation.CHAT, CHAT), [data])
        lines = data.decode().splitlines()
        expected = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        assert rendered.decode() == expected

    def test_the_list_around_logprobs_is_taken_off(self) -> None:
        line = (
            b'{"id":"c","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":'
            b'{"content":"a"},"logprobs":[{"content":[]}],"finish_reason":"length"}]}\n'
        )
        event, _ = events(read_stream(stream_of(Operation.CHAT, CHAT), [line]))
        assert event["choices"][0]["logprobs"] == {"content": []}

    @given(places)
    def test_cuts_change_nothing(self, cuts: list[int]) -> None:
        data = streamed(Operation.CHAT, "sse")
        whole = read_stream(stream_of(Operation.CHAT, CHAT), [data])
        assert read_stream(stream_of(Operation.CHAT, CHAT), pieces(data, cuts)) == whole

    @pytest.mark.parametrize(
        "line",
        [
            b'{"error": "the worker died", "code": 424}\n',
            b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}\n',
            b'{"choices": 7}\n',
            b"{}\n",
            b"nothing\n",
        ],
    )
    def test_a_failure_is_the_last_event(self, line: bytes) -> None:
        data = streamed(Operation.CHAT, "jsonlines")
        begun = data[: data.index(b"\n") + 1]
        stream = stream_of(Operation.CHAT, CHAT)
        found = events(read_stream(stream, [begun, line, begun]))
        assert len(found) == 2
        assert found[1]["error"]["code"] == "upstream_error"
        assert isinstance(stream.error, UpstreamFailed)

    @pytest.mark.parametrize("model", [b"", b'"model": null,', b'"model": "",'])
    def test_an_answer_without_a_name_gets_the_clients(self, model: bytes) -> None:
        reader = render("lmi", Operation.CHAT, CHAT, Settings()).reader
        answer = b'{%b "choices": [{"index": 0, "finish_reason": "stop"}]}' % model
        assert json.loads(read_whole(reader, [answer]))["model"] == "public"

    def test_the_servers_own_error_is_told(self) -> None:
        said = b'{"code": 400, "type": "BadRequestException", "message": "prompt too long"}'
        reader = render("lmi", Operation.CHAT, CHAT, Settings()).reader
        with pytest.raises(InvalidRequest, match="prompt too long"):
            read_whole(reader, [said])
        stream = stream_of(Operation.CHAT, CHAT)
        (event,) = events(stream.feed(said + b"\n"))
        assert event["error"]["message"] == "prompt too long"

    def test_an_end_before_every_choice_has_ended_is_a_failure(self) -> None:
        def line(index: int, reason: str | None) -> bytes:
            choice = {"index": index, "delta": {}, "finish_reason": reason}
            return json.dumps({"model": "m", "choices": [choice]}).encode() + b"\n"

        stream = stream_of(Operation.CHAT, {**CHAT, "n": 2})
        found = events(read_stream(stream, [line(0, "stop"), line(1, None)]))
        assert "ended before" in found[-1]["error"]["message"]

    def test_an_early_end_is_a_failure(self) -> None:
        data = streamed(Operation.CHAT, "jsonlines")
        stream = stream_of(Operation.CHAT, CHAT)
        found = events(read_stream(stream, [data[: data.index(b"\n") + 1]]))
        assert "ended before" in found[-1]["error"]["message"]


class TestText:
    def test_fields_become_parameters(self) -> None:
        body = {**TEXT, "temperature": 1, "stop": ["a"], "presence_penalty": 1, "seed": 0}
        (data,) = render("lmi", Operation.COMPLETIONS, body, Settings()).bodies
        assert json.loads(data) == {
            "inputs": QUESTION,
            "parameters": {
                "return_full_text": False,
                "details": True,
                "max_new_tokens": 12,
                "do_sample": True,
                "temperature": 1,
                "presence_penalty": 1,
                "seed": 0,
                "stop_sequences": ["a"],
            },
            "stream": False,
        }

    def test_text_is_answered(self) -> None:
        answer, reader = ask_whole("lmi", lmi.application(), Operation.COMPLETIONS, TEXT)
        completion = Completion.model_validate(answer, strict=True)
        (choice,) = completion.choices
        assert choice.text == "".join(wording.tokens(wording.answer(QUESTION))[:12])
        assert choice.finish_reason == "length"
        assert reader.usage == Usage(None, 12)
        assert "usage" not in answer

    @pytest.mark.parametrize(
        "answer",
        [
            b'{"generated_text": "a", "details": {"finish reason": "length"}}',
            b'[{"generated_text": "a", "details": {"finish_reason": "length"}}]',
        ],
    )
    def test_its_other_forms_are_read(self, answer: bytes) -> None:
        reader = render("lmi", Operation.COMPLETIONS, TEXT, Settings()).reader
        (choice,) = json.loads(read_whole(reader, [answer]))["choices"]
        assert (choice["text"], choice["finish_reason"]) == ("a", "length")

    @pytest.mark.parametrize(
        ("limit", "reason"),
        [({"max_tokens": 12}, "length"), ({}, "length"), ({"max_tokens": 500}, "stop")],
    )
    def test_the_limit_is_told_by_the_count_where_there_is_no_reason(
        self, limit: Json, reason: str
    ) -> None:
        body = {"prompt": QUESTION, **limit}
        answer, _ = ask_whole("lmi", lmi.application(vllm=True), Operation.COMPLETIONS, body)
        assert answer["choices"][0]["finish_reason"] == reason

    @pytest.mark.parametrize("reason", ['"END"', "128009", '"error"'])
    def test_what_has_stopped_it_may_be_the_reason(self, reason: str) -> None:
        answer = '{"generated_text": "a", "details": {"finish_reason": %s, "generated_tokens": 1}}'
        reader = render("lmi", Operation.COMPLETIONS, TEXT, Settings()).reader
        (choice,) = json.loads(read_whole(reader, [(answer % reason).encode()]))["choices"]
        assert choice["finish_reason"] == "stop"

    def test_a_stop_that_the_container_overlooks_is_cut(self) -> None:
        text = wording.answer(QUESTION)
        stop = wording.tokens(text)[5].strip()
        body = {**TEXT, "stop": stop}
        answer, _ = ask_whole("lmi", lmi.application(vllm=True), Operation.COMPLETIONS, body)
        (choice,) = answer["choices"]
        assert choice["text"] == text[: text.index(stop)]
        assert choice["finish_reason"] == "stop"

    def test_a_stream_that_knows_both_counts_shows_the_usage(self) -> None:
        body = {**TEXT, "stream_options": {"include_usage": True}}
        rendered = render("lmi", Operation.COMPLETIONS, {**body, "stream": True}, Settings())
        assert isinstance(rendered.reader, Stream)
        ((_, data),) = answers(lmi.application(vllm=True), rendered.bodies)
        found = events(read_stream(rendered.reader, [data]))
        assert found[-2]["choices"] == []
        assert found[-2]["usage"]["completion_tokens"] == 12

    def test_a_failure_in_an_answer_is_found(self) -> None:
        with pytest.raises(UpstreamFailed, match="failed while it wrote"):
            ask_whole("lmi", lmi.application(fails_after=0), Operation.COMPLETIONS, TEXT)

    @pytest.mark.parametrize("formatter", FORMATTERS)
    def test_lines_become_chunks(self, formatter: str) -> None:
        stream = stream_of(Operation.COMPLETIONS, TEXT)
        found = events(read_stream(stream, [streamed(Operation.COMPLETIONS, formatter)]))
        assert said(found) == "".join(wording.tokens(wording.answer(QUESTION))[:12])
        assert found[-2]["choices"][0]["finish_reason"] == "length"
        assert found[-1] == "[DONE]"
        assert stream.usage == Usage(None, 12)

    def test_a_usage_with_a_gap_is_not_shown(self) -> None:
        body = {**TEXT, "stream_options": {"include_usage": True}}
        stream = stream_of(Operation.COMPLETIONS, body)
        found = events(read_stream(stream, [streamed(Operation.COMPLETIONS, "jsonlines")]))
        assert all(event["usage"] is None for event in found[:-1])

    @given(places)
    def test_cuts_change_nothing(self, cuts: list[int]) -> None:
        data = streamed(Operation.COMPLETIONS, "jsonlines")
        whole = events(read_stream(stream_of(Operation.COMPLETIONS, TEXT), [data]))
        cut = events(read_stream(stream_of(Operation.COMPLETIONS, TEXT), pieces(data, cuts)))
        assert list(map(without_identity, cut)) == list(map(without_identity, whole))

    def test_a_failure_that_counts_its_tokens_is_one(self) -> None:
        line = (
            b'{"token": {"id": 1, "text": "a", "log_prob": 0}, "generated_text": "a", '
            b'"details": {"finish_reason": "error", "generated_tokens": 3}}\n'
        )
        found = events(read_stream(stream_of(Operation.COMPLETIONS, TEXT), [line]))
        assert "failed while it wrote" in found[-1]["error"]["message"]

    @given(places)
    def test_a_failure_ends_the_stream_with_its_event(self, cuts: list[int]) -> None:
        data = streamed(Operation.COMPLETIONS, "jsonlines", fails_after=2)
        stream = stream_of(Operation.COMPLETIONS, TEXT)
        found = events(read_stream(stream, pieces(data, cuts)))
        assert len(found) == 3
        assert found[-1]["error"]["code"] == "upstream_error"
        assert isinstance(stream.error, UpstreamFailed)


@pytest.mark.parametrize("operation", [Operation.EMBEDDINGS, Operation.RERANK])
def test_it_has_neither_embeddings_nor_ranks(operation: Operation) -> None:
    with pytest.raises(InvalidRequest, match="dialect 'lmi'"):
        render("lmi", operation, {"input": "a"}, Settings())
