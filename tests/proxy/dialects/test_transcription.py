"""A form becomes the audio that the toolkit takes, and what it can't honour is refused by name."""

import json

import pytest

from proxy.dialects.transcription import read_model, render
from proxy.errors import InvalidRequest, ProxyError, UpstreamFailed
from proxy.forms import Form, Upload

AUDIO = bytes(range(256))


def asking(content_type: str = "audio/mpeg", **texts: str) -> Form:
    """A form with a file and these fields."""
    fields = {"model": ["whisper"], **{name: [value] for name, value in texts.items()}}
    return Form(fields, {"file": Upload(content_type, AUDIO)})


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("audio/mpeg", "audio/mpeg"),
        ("Audio/OGG; codecs=opus", "audio/ogg"),
        ("audio/wave", "audio/wave"),
        ("audio/x-flac", "audio/x-flac"),
        # Those that the toolkit does not know.
        ("audio/wav", "audio/x-audio"),
        ("audio/mp4", "audio/x-audio"),
        ("video/webm", "audio/x-audio"),
        ("application/octet-stream", "audio/x-audio"),
        ("text/html\x7f", "audio/x-audio"),
    ],
)
def test_the_audio_is_sent_as_it_is(content_type: str, expected: str) -> None:
    rendered = render(asking(content_type), "huggingface")
    assert (rendered.audio, rendered.audio_type) == (AUDIO, expected)


def test_the_text_is_answered_as_openai_answers_it() -> None:
    said = json.dumps({"text": " Grüße, 世界!", "chunks": []}).encode()
    as_json = render(asking(), "huggingface")
    assert as_json.content_type == "application/json"
    assert json.loads(as_json.render_answer(said)) == {"text": "Grüße, 世界!"}
    as_text = render(asking(response_format="text"), "huggingface")
    assert as_text.content_type == "text/plain; charset=utf-8"
    assert as_text.render_answer(said).decode() == "Grüße, 世界!\n"


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": "json"},
        {"temperature": "0"},
        {"temperature": "0.0"},
        {"stream": "false"},
        {"language": "", "prompt": "", "response_format": ""},
    ],
)
def test_what_asks_for_nothing_is_taken(fields: dict[str, str]) -> None:
    assert render(asking(**fields), "huggingface").audio == AUDIO


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("language", "de"),
        ("prompt", "Names: Ada"),
        ("temperature", "0.2"),
        ("temperature", "none"),
        ("stream", "true"),
        ("timestamp_granularities[]", "word"),
        ("include[]", "logprobs"),
        ("chunking_strategy", "auto"),
        ("anything", "else"),
        ("response_format", "verbose_json"),
        ("response_format", "srt"),
        ("response_format", "vtt"),
        ("response_format", "diarized_json"),
        ("response_format", "yaml"),
    ],
)
def test_what_it_cannot_honour_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=name.rstrip("[]")) as refused:
        render(asking(**{name: value}), "huggingface")
    assert refused.value.param == name


def test_another_file_is_refused_by_name() -> None:
    files = {name: Upload("audio/mpeg", AUDIO) for name in ("file", "stream")}
    with pytest.raises(InvalidRequest) as refused:
        render(Form({}, files), "huggingface")
    assert refused.value.param == "stream"


@pytest.mark.parametrize(
    "form",
    [
        Form({"model": ["whisper"]}, {}),
        Form({"model": ["whisper"], "file": ["a.mp3"]}, {}),
        Form({"model": ["whisper"]}, {"file": Upload("audio/mpeg", b"")}),
    ],
)
def test_without_audio_there_is_nothing_to_hear(form: Form) -> None:
    with pytest.raises(InvalidRequest) as refused:
        render(form, "huggingface")
    assert refused.value.param == "file"


@pytest.mark.parametrize("dialect", ["openai", "lmi", "tgi", "tei", "raw"])
def test_no_other_dialect_has_it(dialect: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{dialect}.*no transcription") as refused:
        render(asking(), dialect)
    assert refused.value.param == "model"


@pytest.mark.parametrize(
    "form", [Form({}, {}), Form({"model": [""]}, {}), Form({}, {"model": Upload("", b"whisper")})]
)
def test_a_form_must_name_its_model(form: Form) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_model(form)
    assert refused.value.param == "model"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", UpstreamFailed),
        (b"[[[", UpstreamFailed),
        (b"[" * 100_000, UpstreamFailed),
        (b"\xff", UpstreamFailed),
        (b'{"text": null}', UpstreamFailed),
        (b'[{"generated_text": "a"}]', UpstreamFailed),
        (
            b'{"code": 400, "type": "InternalServerException", "message": "no audio"}',
            InvalidRequest,
        ),
    ],
)
def test_an_answer_without_a_text_is_a_failure(said: bytes, kind: type[ProxyError]) -> None:
    with pytest.raises(kind):
        render(asking(), "huggingface").render_answer(said)
