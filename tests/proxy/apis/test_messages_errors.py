"""Errors in the words of Anthropic's API."""

import pytest

from proxy import errors
from proxy.apis.messages_errors import error_json


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequest("m"), "invalid_request_error"),
        (errors.RequestTooLarge("m"), "request_too_large"),
        (errors.HeadersTooLarge("m"), "invalid_request_error"),
        (errors.InvalidKey("m"), "authentication_error"),
        (errors.Forbidden("m"), "permission_error"),
        (errors.ModelNotFound("m"), "not_found_error"),
        (errors.MethodNotAllowed("m"), "invalid_request_error"),
        (errors.RateLimited("m"), "rate_limit_error"),
        (errors.UpstreamFailed("m"), "api_error"),
        (errors.ModelNotReady("m"), "overloaded_error"),
        (errors.DeadlineExceeded("m"), "timeout_error"),
        (errors.ProxyError("m"), "api_error"),
    ],
)
def test_each_has_its_type(error: errors.ProxyError, kind: str) -> None:
    assert error_json(error) == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
    }


def test_a_container_is_quoted() -> None:
    answer = errors.ContainerAnswer(422, '{"error": {"message": "too long"}}')
    refusal = errors.Refusal(424, "ModelError", b"")
    said = error_json(errors.ContainerError(answer, refusal=refusal))["error"]
    assert said == {"type": "invalid_request_error", "message": "too long"}


def test_a_thread_is_refused_so_that_the_client_goes_on_without() -> None:
    said = error_json(errors.InvalidRequest("no threads", param="thread"))["error"]
    assert isinstance(said, dict)
    assert said["details"] == {"error_code": "thread_unsupported_request"}
