"""What a chunk says is read without a look at its text."""

import pytest

from proxy.dialects.base import Usage
from proxy.dialects.chunks import Choice, Choices, read_chunk
from proxy.errors import InvalidRequest, ProxyError, UpstreamFailed


def test_choices_model_and_usage_are_read() -> None:
    chunk = read_chunk(
        b'{"id": 7, "model": "m", "choices": [{"index": 1, "delta": {"content": "a"}}, '
        b'{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": "x"}}'
    )
    assert chunk is not None
    assert chunk.model == "m"
    assert chunk.choices == [Choice(1), Choice(0, "stop")]
    assert chunk.usage == Usage(1, None)


@pytest.mark.parametrize("data", [b"[]", b"7", b"{}", b'{"choices": 7}', b'{"choices": [7]}'])
def test_json_of_another_kind_is_none(data: bytes) -> None:
    assert read_chunk(data) is None


@pytest.mark.parametrize("data", [b"", b"x", b'{"choices": [', b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_told(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        read_chunk(data)


def test_no_error_is_none() -> None:
    assert read_chunk(b'{"error": null, "choices": []}') is not None


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"error": {"message": "gone", "code": 500}}', UpstreamFailed),
        (b'{"choices": [], "error": {"message": "too long", "code": 400}}', InvalidRequest),
        (b'{"object": "error", "message": "gone", "error": null, "code": 500}', UpstreamFailed),
        (b'{"code": 400, "type": "BadRequestException", "message": "too long"}', InvalidRequest),
    ],
)
def test_a_failure_is_raised(data: bytes, kind: type[ProxyError]) -> None:
    with pytest.raises(kind):
        read_chunk(data)


@pytest.mark.parametrize(
    ("choices", "ended"),
    [
        ([], False),
        ([Choice(0)], False),
        ([Choice(0), Choice(0, "stop")], True),
        ([Choice(0, "stop"), Choice(1)], False),
        ([Choice(1), Choice(0, "stop"), Choice(1, "length")], True),
    ],
)
def test_choices_have_ended_when_each_has_a_reason(choices: list[Choice], ended: bool) -> None:
    noted = Choices()
    for choice in choices:
        noted.note([choice])
    if ended:
        noted.check_ended()
    else:
        with pytest.raises(UpstreamFailed, match="ended before"):
            noted.check_ended()
