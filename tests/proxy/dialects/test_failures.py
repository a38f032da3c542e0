"""The errors that containers report inside an answer are found in all of their shapes."""

import pytest

from proxy.dialects.failures import find_failure
from proxy.errors import InvalidRequest, ProxyError, Throttled, UpstreamFailed


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ({"error": "too long", "error_type": "validation"}, InvalidRequest, "too long"),
        ({"error": "too long", "error_type": "Tokenizer"}, InvalidRequest, "too long"),
        ({"error": "busy", "error_type": "overloaded"}, Throttled, "busy"),
        ({"error": "oom", "error_type": "generation"}, UpstreamFailed, "the model failed: oom"),
        ({"error": "bad", "code": 424}, UpstreamFailed, "the model failed: bad"),
        ({"error": "bad", "code": 400}, InvalidRequest, "bad"),
        ({"code": 400, "type": "X", "message": "bad"}, InvalidRequest, "bad"),
        ({"code": 500, "type": "X", "message": "bad"}, UpstreamFailed, "the model failed: bad"),
        ({"error": {"message": "bad", "code": 400}}, InvalidRequest, "bad"),
        ({"object": "error", "message": "bad", "code": 400}, InvalidRequest, "bad"),
        ({"error": {"message": "gone", "code": 500}}, UpstreamFailed, "the model failed: gone"),
        ({"error": {}}, UpstreamFailed, "the model failed"),
    ],
)
def test_a_failure_is_found(said: object, kind: type[ProxyError], message: str) -> None:
    found = find_failure(said)
    assert type(found) is kind
    assert found.message == message
    assert message not in (found.log_message or "")


@pytest.mark.parametrize("said", [{"generated_text": "x"}, {"error": None}, [], "error", None])
def test_what_is_no_failure_is_none(said: object) -> None:
    assert find_failure(said) is None


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (400, "X", "400"),
        (None, "BadRequestError", "BadRequestError"),
        ("context_length_exceeded", None, "context_length_exceeded"),
        ({"prompt": "my secret"}, "X", "X"),
        (["my secret"], None, "no code"),
        ("my secret", "your secret", "no code"),
        (True, "a" * 51, "no code"),
        (10**5, "", "no code"),
    ],
)
def test_the_log_has_the_code_and_none_of_the_words(code: object, kind: object, told: str) -> None:
    found = find_failure({"error": {"message": "my secret", "code": code, "type": kind}})
    assert found is not None
    assert found.log_message == f"the container reported an error in its answer ({told})"
