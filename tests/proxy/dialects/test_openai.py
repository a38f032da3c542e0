"""The OpenAI dialect reads routing and usage, and leaves bodies alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import sse
from proxy.dialects.base import Operation, Relayed, Settings, Stream, Usage
from proxy.dialects.openai import (
    OpenAIStream,
    Routing,
    read_routing,
    read_usage,
    render,
    with_model,
)
from proxy.errors import InvalidRequest, ProxyError, UpstreamFailed
from tests.proxy.dialects.asking import events, pieces, places, read_stream

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(
    st.text(min_size=1),
    st.sampled_from([None, True, False]),
    st.dictionaries(st.text().filter(lambda key: key not in ("model", "stream")), json_values),
    st.booleans(),
)
def test_model_and_stream_are_read_from_any_object(
    model: str, stream: bool | None, others: dict[str, object], ascii_only: bool
) -> None:
    body = {**others, "model": model, "stream": stream}
    try:
        encoded = json.dumps(body, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    assert read_routing(encoded) == Routing(model, bool(stream))


def test_a_missing_stream_is_no_stream() -> None:
    assert read_routing(b'{"model": "m"}') == Routing("m", False)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (b"", "not valid JSON", None),
        (b"{", "not valid JSON", None),
        (b"model=x", "not valid JSON", None),
        (b'{"model": "\xff"}', "not valid JSON", None),
        (b'{"model": "m"} x', "not valid JSON", None),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deeply", None),
        (b"[]", "must be a JSON object", None),
        (b'"model"', "must be a JSON object", None),
        (b"null", "must be a JSON object", None),
        (b"{}", "'model' is missing", "model"),
        (b'{"model": null}', "'model' is missing", "model"),
        (b'{"model": 7}', "'model' must be a string", "model"),
        (b'{"model": ["m"]}', "'model' must be a string", "model"),
        (b'{"model": "m", "stream": "yes"}', "'stream' must be", "stream"),
        (b'{"model": "m", "stream": 1}', "'stream' must be", "stream"),
        (b'{"model": "m", "stream": 1e999}', "'stream' must be", "stream"),
        (b'{"model": "m", "stream": ' + b"1" * 5000 + b"}", "'stream' must be", "stream"),
        (b'{"model": "m", "model": "m"}', "'model' is there twice", "model"),
        (b'{"model": "m", "mod\\u0065l": "n"}', "'model' is there twice", "model"),
        (b'{"model": "m", "stream": true, "\\u0073tream": false}', "there twice", "stream"),
    ],
)
def test_what_cannot_be_routed_is_refused_with_a_reason(
    body: bytes, message: str, param: str | None
) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        read_routing(body)
    assert caught.value.param == param


def test_the_same_names_deeper_are_no_second_ones() -> None:
    body = (
        b'{"model": "m", "tools": [{"model": 1, "stream": 2}], "x": {"model": 3}, "stream": true}'
    )
    assert read_routing(body) == Routing("m", True)


@pytest.mark.parametrize(
    ("data", "usage"),
    [
        (b'{"usage": {"prompt_tokens": 3, "completion_tokens": 5}}', Usage(3, 5)),
        (b'{"usage":{"prompt_tokens":3,"total_tokens":3}}', Usage(3, None)),
        (
            b'{"usage": {"prompt_tokens_details": {"cached_tokens": 1}, "prompt_tokens": 3, '
            b'"completion_tokens": 5}, "x": "}"}',
            Usage(3, 5),
        ),
        (
            b'data: {"usage":null}\n\ndata: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
            b"data: [DONE]\n\n",
            Usage(1, 2),
        ),
        (b'...tail of "usage": {"prompt_tokens": 1, "completion_tokens": "two"}', Usage(1, None)),
        (b'{"content": "say \\"usage\\": {\\"prompt_tokens\\": 9}"}', None),
        (b'{"usage": {"prompt_tokens": 3', None),
        (b'{"usage": {"a":' + b"[" * 100_000, None),
        (b'{"usage": null}', None),
        (b"", None),
        (b"\xff\x00", None),
    ],
)
def test_usage_is_read_where_the_answer_names_it(data: bytes, usage: Usage | None) -> None:
    assert read_usage(data) == usage


class TestWithModel:
    def test_the_rest_of_the_bytes_stay_as_they_were(self) -> None:
        body = (
            b' {"z": 123456789012345678901234567890,  "nested": {"model": "mine"},'
            b'\n\t"model" :\t"alias" , "a": "\\u00e9\\ud83d\\ude00 \\"model\\": \xc3\xa9", '
            b'"e": 1E+2 } '
        )
        assert with_model(body, "served") == body.replace(b'"alias"', b'"served"')

    def test_a_name_is_written_as_json(self) -> None:
        assert json.loads(with_model(b'{"model":"a"}', 'é"\\')) == {"model": 'é"\\'}

    def test_an_escaped_key_is_a_key(self) -> None:
        assert with_model(b'{"mod\\u0065l": "a"}', "") == b'{"mod\\u0065l": ""}'

    @pytest.mark.parametrize(
        "body",
        [
            b'{"model": "a", "model": "bc"}',
            b'{"model": "a", "model": "a"}',
            b'{"n": [1], "n": 1, "model": "a"}',
            b'{"n": 12, "n": 1, "model": "a"}',
        ],
    )
    def test_a_key_that_is_there_twice_is_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest, match="is there twice"):
            with_model(body, "served")

    def test_a_key_that_is_no_utf8_is_refused(self) -> None:
        with pytest.raises(InvalidRequest, match="not valid JSON"):
            with_model(b'{"model": "a", "\xff": 1}', "served")

    @given(
        st.dictionaries(st.text(), json_values),
        st.text(),
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
        st.booleans(),
        st.sampled_from([None, 1, "\t"]),
    )
    def test_any_body_differs_in_nothing_else(
        self,
        others: dict[str, object],
        before: str,
        after: str,
        ascii_only: bool,
        indent: str | int | None,
    ) -> None:
        fields = {**others, "model": before, "stream": others.get("stream", False)}

        def written(model: str) -> bytes:
            text = json.dumps({**fields, "model": model}, ensure_ascii=ascii_only, indent=indent)
            return text.encode(errors="surrogatepass")

        assert with_model(written(before), after) == written(after)


class TestRender:
    BODY = b'{"model": "alias",  "stream": false, "x": 1E+2}'

    @pytest.mark.parametrize("operation", Operation)
    def test_the_body_is_the_clients(self, operation: Operation) -> None:
        rendered = render(self.BODY, operation, model="alias", settings=Settings())
        assert rendered.bodies == [self.BODY]
        assert isinstance(rendered.reader, Relayed)

    @pytest.mark.parametrize("served", ["served", ""])
    def test_the_model_is_the_containers(self, served: str) -> None:
        settings = Settings(served_model=served)
        rendered = render(self.BODY, Operation.CHAT, model="alias", settings=settings)
        assert rendered.bodies == [self.BODY.replace(b"alias", served.encode())]

    def test_only_text_is_streamed(self) -> None:
        body = b'{"model": "alias", "stream": true}'
        for operation in Operation:
            reader = render(body, operation, model="alias", settings=Settings()).reader
            streams = operation in (Operation.CHAT, Operation.COMPLETIONS)
            assert isinstance(reader, Stream if streams else Relayed)


class TestStream:
    EVENTS = (
        'data: {"choices":[{"delta":{"content":"say \\"error\\": é🦉"}}]}\r\n\r\n'
        ': comment\n\ndata: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
        "data: [DONE]\n\n"
    ).encode()

    @given(places)
    def test_events_pass_whole_and_untouched(self, cuts: list[int]) -> None:
        stream = OpenAIStream()
        sent = [stream.feed(piece) for piece in pieces(self.EVENTS, cuts)]
        sent.append(stream.end())
        assert b"".join(sent) == self.EVENTS
        assert all(not part or part.endswith((b"\n\n", b"\r\n\r\n")) for part in sent)
        assert stream.usage == Usage(1, 2)
        assert stream.error is None

    @pytest.mark.parametrize(
        ("data", "error"),
        [
            (b'{"error":{"message":"gone","type":"X","code":500}}', UpstreamFailed),
            (b'{"error": {"message": "too long", "code": 400}}', InvalidRequest),
            (b'{"object":"error","message":"gone","error":null,"code":500}', UpstreamFailed),
            (b'{ "error" : {"message": "gone", "code": 500}}', UpstreamFailed),
            (b'{"id": "x", "error": {"message": "gone", "code": 500}}', UpstreamFailed),
            (b'{"error": {"message": "cut off', UpstreamFailed),
        ],
    )
    @pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
    def test_a_failure_is_the_last_event(
        self, data: bytes, error: type[ProxyError], end: bytes
    ) -> None:
        stream = OpenAIStream()
        before = b'data: {"choices":[]}' + end
        sent = read_stream(stream, [before + b"data: " + data + end + b"data: [DONE]" + end])
        assert isinstance(stream.error, error)
        rendered = json.dumps(stream.error.to_openai()).encode()
        assert sent == before + b"data: " + rendered + b"\n\n"

    def test_an_error_that_is_null_is_none(self) -> None:
        stream = OpenAIStream()
        event = b'data: {"error":null,"choices":[]}\n\n'
        assert stream.feed(event) == event
        assert stream.error is None

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b": nothing\n\n",
            b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n',
            b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n'
            b'data: {"choices":[{"index":1,"delta":{}}]}\n\n',
        ],
    )
    @pytest.mark.parametrize("rest", [b"", b'data: {"choices":[{"inde', b"data: [DO", b"dat"])
    def test_an_early_end_is_a_failure(self, data: bytes, rest: bytes) -> None:
        stream = OpenAIStream()
        sent = read_stream(stream, [data, rest])
        assert sent.startswith(data + b'data: {"error"')
        assert "ended before" in events(sent.removeprefix(b": nothing\n\n"))[-1]["error"]["message"]
        assert isinstance(stream.error, UpstreamFailed)

    @pytest.mark.parametrize("end", [b"", b"\n", b"\n\n"])
    def test_where_all_choices_have_ended_the_mark_may_be_missing(self, end: bytes) -> None:
        stream = OpenAIStream()
        event = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
        assert read_stream(stream, [event + end]) == event + b"\n\ndata: [DONE]\n\n"
        assert stream.error is None

    def test_a_stream_without_events_is_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10)
        stream = OpenAIStream()
        assert b"the model's stream has no events" in stream.feed(b"x" * 20)
        assert isinstance(stream.error, UpstreamFailed)
