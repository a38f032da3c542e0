"""A body is a form whose values were all in it, and a transcription to be had, or it is refused."""

from __future__ import annotations

from proxy.dialects.transcription import read_model, render
from proxy.errors import InvalidRequest
from proxy.forms import read_form


def check(data: bytes) -> None:
    """Take what is in front of the first line's end for the Content-Type."""
    kind, _, body = data.partition(b"\n")
    try:
        form = read_form(kind.decode("latin-1"), body)
    except InvalidRequest:
        return
    values = [value.encode() for values in form.texts.values() for value in values]
    files = [file.body for file in form.files.values()]
    assert all(value in body for value in values + files)
    try:
        read_model(form)
        assert render(form, "huggingface").audio in files
    except InvalidRequest:
        return
