"""Transcriptions: a form of OpenAI's becomes the audio that Hugging Face's toolkit takes, as it is.

The toolkit's ``automatic-speech-recognition`` takes a body of audio, and with it no parameters: in
JSON, for which it has some, it takes no audio. So whatever is not the file cannot be honoured. It
answers ``{"text": …}``. Sources: the toolkit's decoders and handler, Transformers' pipeline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec

from proxy.dialects.base import refuse_field, refuse_operation, unexpected
from proxy.dialects.failures import find_failure
from proxy.dialects.huggingface import NAME
from proxy.dialects.shapes import encode
from proxy.errors import InvalidRequest
from proxy.forms import Form

# The types that the toolkit knows. It does the same for each, and refuses all others.
_AUDIO_TYPES = frozenset({"audio/mpeg", "audio/ogg", "audio/wave", "audio/x-audio", "audio/x-flac"})
_ANY_AUDIO = "audio/x-audio"

# The formats that OpenAI has. Those that are not told here tell times, or who speaks.
_FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
_CONTENT_TYPES = {"json": "application/json", "text": "text/plain; charset=utf-8"}

_ZERO = re.compile(r"0+(\.0*)?")

# Values with which a field asks for no more than leaving it out; an empty one always does.
_NEUTRAL = {"stream": re.compile(r"false|0", re.IGNORECASE), "temperature": _ZERO}


@dataclass(frozen=True, slots=True)
class Transcription:
    """What the container is to be sent, and how the client wants its text."""

    audio: bytes = field(repr=False)
    audio_type: str
    response_format: str

    @property
    def content_type(self) -> str:
        """The answer's."""
        return _CONTENT_TYPES[self.response_format]

    def render_answer(self, body: bytes) -> bytes:
        """The client's answer out of the container's. Raises ``ProxyError``."""
        text = _read_text(body)
        return encode({"text": text}) if self.response_format == "json" else f"{text}\n".encode()


def read_model(form: Form) -> str:
    """The model that a form names. Raises ``InvalidRequest``."""
    if "model" in form.files or not (model := "".join(form.texts.get("model", []))):
        raise InvalidRequest(
            "the field 'model' is missing: it names the SageMaker endpoint", param="model"
        )
    return model


def render(form: Form, dialect: str) -> Transcription:
    """What a container of ``dialect`` is to be sent for a form.

    Raises ``InvalidRequest`` for what the container can't do.
    """
    if dialect != NAME:
        raise refuse_operation(dialect, "transcription")
    audio = form.files.get("file")
    if audio is None or not audio.body:
        raise InvalidRequest(
            "the field 'file' must be a file of audio, with a name, and not empty", param="file"
        )
    asked = {name: value for name, values in form.texts.items() if (value := ",".join(values))}
    response_format = asked.pop("response_format", "json")
    if response_format not in _FORMATS:
        raise InvalidRequest(
            f"the field 'response_format' must be one of {', '.join(_FORMATS)}",
            param="response_format",
        )
    if response_format not in _CONTENT_TYPES:
        raise InvalidRequest(
            f"this model's container speaks the dialect {NAME!r}, which tells the text alone; "
            f"ask for json or text as 'response_format', not for {response_format}",
            param="response_format",
        )
    for name in (*asked, *form.files):
        neutral = _NEUTRAL.get(name)
        if name not in ("model", "file") and not (
            neutral and neutral.fullmatch(asked.get(name, ""))
        ):
            raise refuse_field(NAME, name)
    content_type = audio.content_type.partition(";")[0].strip().lower()
    audio_type = content_type if content_type in _AUDIO_TYPES else _ANY_AUDIO
    return Transcription(audio.body, audio_type, response_format)


def _read_text(body: bytes) -> str:
    """What was said, without the space that Whisper begins with. Raises ``ProxyError``."""
    try:
        said = msgspec.json.decode(body)
    except (ValueError, RecursionError) as exc:  # among them msgspec's errors
        raise unexpected(NAME, "it is no JSON") from exc
    if isinstance(said, dict) and isinstance(said.get("text"), str):
        return str(said["text"]).strip()
    raise find_failure(said) or unexpected(NAME, "it has no text")
