"""Forms are read whole or refused, whatever arrives."""

from collections.abc import Mapping

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import InvalidRequest
from proxy.forms import MOST_PART_HEAD_BYTES, MOST_PARTS, Form, read_form

KIND = 'multipart/form-data; boundary="line"'
TEXT = b'--line\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
FILE = (
    b'--line\r\nContent-Disposition: form-data; name="%b"; filename="a.mp3"\r\n'
    b"Content-Type: audio/mpeg\r\n\r\n%b\r\n"
)
END = b"--line--\r\n"

NAMES = st.text(st.characters(min_codepoint=0x61, max_codepoint=0x7A), min_size=1, max_size=20)


def sent(texts: Mapping[str, str], files: Mapping[str, tuple[str, bytes, str]]) -> Form:
    """A form as a client of long standing writes it, and as it is read here."""
    request = requests.Request("POST", "http://localhost", data=texts, files=files).prepare()
    assert isinstance(request.body, bytes)
    return read_form(request.headers["Content-Type"], request.body)


@given(st.dictionaries(NAMES, st.text(), max_size=5), st.binary())
def test_every_value_is_as_it_was_sent(texts: dict[str, str], audio: bytes) -> None:
    form = sent(texts, {"FILE": ("ä/b.mp3", audio, "audio/mpeg")})
    assert form.texts == {name: [value] for name, value in texts.items()}
    (file,) = form.files.values()
    assert (file.body, file.content_type) == (audio, "audio/mpeg")


def test_audio_that_looks_like_a_form_is_audio() -> None:
    audio = b"\r\n--lin\r\nContent-Disposition: form-data\r\n\r\n--\r\n\r\n"
    form = read_form(KIND, FILE % (b"file", audio) + END)
    assert form.files["file"].body == audio


def test_only_a_list_has_several_values() -> None:
    body = TEXT % (b"times[]", b"word") + TEXT % (b"times[]", b"segment") + END
    assert read_form(KIND, body).texts == {"times[]": ["word", "segment"]}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data-not; boundary=line",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="line',
        "multipart/form-data; boundary=line; boundary=other",
        f"multipart/form-data; boundary={'a' * 71}",
        "multipart/form-data; boundary=l\xedne",
        "multipart/form-data; notboundary=line",
    ],
)
def test_without_one_boundary_there_is_no_form(content_type: str) -> None:
    with pytest.raises(InvalidRequest, match="Content-Type"):
        read_form(content_type, FILE % (b"file", b"a") + END)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("Multipart/Form-Data;boundary=line;charset=utf-8", TEXT % (b"model", b"a") + END),
        ("multipart/form-data ; charset=utf-8; BOUNDARY=line", TEXT % (b"model", b"a") + END),
    ],
)
def test_any_spelling_of_its_type_is_read(content_type: str, body: bytes) -> None:
    assert read_form(content_type, body).texts == {"model": ["a"]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (TEXT % (b"model", b"a") * 2 + END, "model"),
        (FILE % (b"file", b"a") * 2 + END, "file"),
        (FILE % (b"file[]", b"a") * 2 + END, "file[]"),
        (FILE % (b"file", b"a") + TEXT % (b"file", b"a") + END, "file"),
        (TEXT % (b"model", b"\xff") + END, "model"),
        (FILE % (b"file", b"a"), None),
        (FILE % (b"file", b"a") + b"--line-", None),
        (FILE % (b"file", b"a") + b"--lin", None),
        (b"before" + FILE % (b"file", b"a") + END, None),
        (b'--line\r\nContent-Disposition: form-data; name="model"\r\n' + END, None),
        (b"--line\r\nContent-Type: text/plain\r\n\r\na\r\n" + END, None),
        (b"--line\r\nContent-Disposition: form-data\r\n\r\na\r\n" + END, None),
        (b'--line\r\nContent-Disposition: attachment; name="a"\r\n\r\na\r\n' + END, None),
        (b"--line\r\nContent-Disposition: form-data; name*=a; name*0=b\r\n\r\na\r\n" + END, None),
        (TEXT % (b"model" + b"l" * MOST_PART_HEAD_BYTES, b"a") + END, None),
        (TEXT % (b"times[]", b"a") * (MOST_PARTS + 1) + END, None),
        (b"", None),
    ],
)
def test_what_can_be_taken_in_two_ways_or_in_none_is_refused(body: bytes, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_form(KIND, body)
    assert refused.value.param == param


@given(
    st.lists(
        st.sampled_from(
            [
                b"--line",
                b"--line\r\n",
                b"--line--",
                b"\r\n",
                b"\r\n\r\n",
                b'Content-Disposition: form-data; name="model"',
                b"Content-Disposition: form-data; name*0*=a''%41; name*=b; filename=c",
                b"Content-Type: audio/mpeg",
                b"\xff\x00",
                b'"',
            ]
        )
        | st.binary(max_size=20),
        max_size=12,
    )
)
def test_any_bytes_are_a_form_or_refused(pieces: list[bytes]) -> None:
    try:
        form = read_form(KIND, b"".join(pieces))
    except InvalidRequest:
        return
    assert all(name and values for name, values in form.texts.items())
