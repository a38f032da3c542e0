"""SageMaker's errors become the errors of the published table."""

import json

import pytest

from proxy.errors import ContainerError, ProxyError, Refusal
from proxy.refusals import Retry, read_refusal, stream_error, translate


def refuse(status: int, error_type: str, **body: object) -> tuple[ProxyError, Retry]:
    return translate(Refusal(status, error_type, json.dumps(body).encode()), "llama")


@pytest.mark.parametrize(
    ("status", "error_type", "body", "expected", "code", "retry"),
    [
        (400, "ValidationError", {"message": "bad accept"}, 400, "invalid_request", Retry.NEVER),
        (
            400,
            "ValidationError",
            {"message": "Endpoint llama of account 123456789012 not found."},
            404,
            "model_not_found",
            Retry.NEVER,
        ),
        (400, "ThrottlingException", {"message": None}, 429, "rate_limit_exceeded", Retry.SOON),
        (429, "ThrottlingException", {"message": "x"}, 429, "rate_limit_exceeded", Retry.SOON),
        (
            400,
            "ValidationError",
            {"message": "Inference Component has no capacity to process this request. Wait."},
            503,
            "service_unavailable",
            Retry.NEVER,
        ),
        (
            429,
            "ModelNotReadyException",
            {"Message": "loading"},
            503,
            "service_unavailable",
            Retry.NEVER,
        ),
        (503, "ServiceUnavailable", {}, 503, "service_unavailable", Retry.NEVER),
        (500, "InternalFailure", {}, 502, "upstream_error", Retry.NEVER),
        (530, "InternalDependencyException", {}, 502, "upstream_error", Retry.NEVER),
        (403, "AccessDeniedException", {"Message": "no"}, 502, "upstream_error", Retry.NEVER),
        (403, "InvalidSignatureException", {}, 502, "upstream_error", Retry.NEVER),
        (
            403,
            "InvalidSignatureException",
            {"message": "Signature expired: 20260101T000000Z is now earlier than …"},
            502,
            "upstream_error",
            Retry.BY_ITS_CLOCK,
        ),
        (
            403,
            "SignatureDoesNotMatch",
            {"message": "Signature not yet current: 20260101T000000Z is still later than …"},
            502,
            "upstream_error",
            Retry.BY_ITS_CLOCK,
        ),
        (403, "RequestTimeTooSkewed", {}, 502, "upstream_error", Retry.BY_ITS_CLOCK),
        (403, "", {"message": "Forbidden"}, 502, "upstream_error", Retry.NEVER),
        (403, "ExpiredTokenException", {}, 502, "upstream_error", Retry.WITH_NEW_CREDENTIALS),
        (400, "ExpiredTokenException", {}, 502, "upstream_error", Retry.WITH_NEW_CREDENTIALS),
        (
            403,
            "UnrecognizedClientException",
            {},
            502,
            "upstream_error",
            Retry.WITH_NEW_CREDENTIALS,
        ),
        (
            424,
            "ModelError",
            {"OriginalStatusCode": 500, "OriginalMessage": "CUDA out of memory"},
            502,
            "upstream_error",
            Retry.NEVER,
        ),
        (
            424,
            "ModelError",
            {"OriginalStatusCode": 0, "Message": "Your invocation timed out while waiting"},
            504,
            "timeout",
            Retry.NEVER,
        ),
        (
            424,
            "ModelError",
            {"OriginalStatusCode": 422, "OriginalMessage": "no"},
            422,
            "model_error",
            Retry.NEVER,
        ),
        (
            424,
            "ModelError",
            {"OriginalStatusCode": 429, "OriginalMessage": "busy"},
            429,
            "rate_limit_exceeded",
            Retry.NEVER,
        ),
        (429, "", {}, 429, "rate_limit_exceeded", Retry.SOON),
        (307, "", {}, 502, "upstream_error", Retry.NEVER),
        (413, "", {"message": "too long"}, 413, "invalid_request", Retry.NEVER),
        (502, "", {}, 502, "upstream_error", Retry.NEVER),
    ],
)
def test_each_refusal_has_its_status_code_and_retry(
    status: int,
    error_type: str,
    body: dict[str, object],
    expected: int,
    code: str,
    retry: Retry,
) -> None:
    error, again = refuse(status, error_type, **body)
    assert (error.status, error.code, again) == (expected, code, retry)


def test_waiting_errors_say_when_to_come_back() -> None:
    for status, error_type in ((429, "ModelNotReadyException"), (400, "ThrottlingException")):
        error, _ = refuse(status, error_type, message=None)
        assert int(error.headers["Retry-After"]) >= 1


def test_a_missing_permission_is_named_to_the_operator_alone() -> None:
    error, _ = refuse(
        403,
        "AccessDeniedException",
        Message="User: arn:aws:sts::123456789012:assumed-role/proxy/i-0 is not authorized to "
        "perform: sagemaker:InvokeEndpoint on resource: arn:aws:sagemaker:us-east-1:123456789012:"
        "endpoint/llama because no identity-based policy allows the action",
    )
    assert error.log_message is not None
    assert "sagemaker:InvokeEndpoint" in error.log_message
    assert "arn:aws:sagemaker:us-east-1:123456789012:endpoint/llama" in error.log_message
    assert "123456789012" not in error.message
    assert error.refusal is None, "the native paths would relay it"


def test_the_containers_own_words_and_the_whole_refusal_are_kept() -> None:
    error, _ = refuse(
        424, "ModelError", OriginalStatusCode=404, OriginalMessage='{"error": {"code": 404}}'
    )
    assert isinstance(error, ContainerError)
    assert error.answer.body == '{"error": {"code": 404}}'
    assert error.refusal is not None
    assert error.refusal.status == 424
    failed, _ = refuse(424, "ModelError", OriginalStatusCode=500, OriginalMessage="CUDA OOM")
    assert "CUDA OOM" in failed.message


def test_a_failed_container_is_traced_by_its_log_and_not_by_its_words() -> None:
    error, _ = refuse(
        424,
        "ModelError",
        OriginalStatusCode=500,
        OriginalMessage="cannot parse: my secret prompt",
        LogStreamArn="arn:aws:logs:us-east-1:123456789012:log-group:llama",
    )
    assert error.log_message is not None
    assert "secret prompt" not in error.log_message
    assert "log-group:llama" in error.log_message
    assert "123456789012" not in error.message


def test_without_words_of_the_containers_sagemakers_are_not_passed_on() -> None:
    error, _ = refuse(
        424, "ModelError", OriginalStatusCode=500, Message="See account 123456789012 for more"
    )
    assert "123456789012" not in error.message


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff", b"null", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_survived(body: bytes) -> None:
    for status in (400, 403, 424, 429, 500, 503):
        error, _ = translate(Refusal(status, "", body), "llama")
        assert 400 <= error.status < 600


def test_the_error_type_is_read_from_header_or_body() -> None:
    url = "ModelError:http://internal.amazon.com/coral/com.amazonaws.sagemaker/"
    assert read_refusal(424, {"x-amzn-errortype": url}, b"").error_type == "ModelError"
    body = b'{"__type": "com.amazon.coral.availability#ThrottlingException", "message": null}'
    assert read_refusal(400, {}, body).error_type == "ThrottlingException"


@pytest.mark.parametrize(
    ("name", "payload", "status"),
    [
        ("ModelStreamError", {"ErrorCode": "ModelInvocationTimeExceeded", "Message": "60 s"}, 504),
        ("ModelStreamError", {"ErrorCode": "StreamBroken", "Message": "reset"}, 502),
        ("InternalStreamFailure", {"Message": "internal"}, 502),
        ("SomethingNew", {}, 502),
    ],
)
def test_a_stream_that_reports_an_exception_has_a_status(
    name: str, payload: dict[str, str], status: int
) -> None:
    assert stream_error(name, json.dumps(payload).encode()).status == status


def test_the_containers_words_about_a_stream_are_the_clients_alone() -> None:
    payload = json.dumps({"ErrorCode": "StreamBroken", "Message": "my secret"}).encode()
    error = stream_error("ModelStreamError", payload)
    assert "my secret" in error.message
    assert error.log_message == "the stream ended with ModelStreamError StreamBroken"
