"""What SageMaker's refusals mean: one table from its errors to ours.

Sources: botocore's ``sagemaker-runtime`` model for the names and statuses; throttling as HTTP 400
with a null message, and "no capacity" as a ValidationError, are how the service really answers.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping

from proxy.errors import (
    ContainerAnswer,
    ContainerError,
    CredentialsRefused,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    ProxyError,
    Refusal,
    Throttled,
    UpstreamFailed,
)

_THROTTLING = frozenset(
    {"ThrottlingException", "Throttling", "ThrottledException", "TooManyRequestsException"}
)
_ENDED = frozenset(
    {
        "ExpiredTokenException",
        "ExpiredToken",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
    }
)
_DENIED = frozenset(
    {
        "AccessDeniedException",
        "AccessDenied",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "SignatureDoesNotMatch",
    }
)
_SKEWED = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
_SKEW = re.compile(r"signature (expired|not yet current)", re.I)
_NOT_AUTHORIZED = re.compile(r"not authorized to perform: (\S+)(?: on resource: (\S+))?")
_NOT_FOUND = re.compile(r"(endpoint|inference component) \S+ (of account \S+ )?not found", re.I)
_SHOWN_CHARACTERS = 2000


class Retry(enum.Enum):
    """Whether the same call is worth another try."""

    NEVER = enum.auto()
    SOON = enum.auto()  # throttled: a few times, with jitter
    WITH_NEW_CREDENTIALS = enum.auto()  # ours have ended: once, if there are newer ones
    BY_ITS_CLOCK = enum.auto()  # ours is off: once, by the one that SageMaker's answer tells of


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """Take an error answer of SageMaker's for what it is."""
    error_type = headers.get("x-amzn-errortype", "").partition(":")[0]
    if not error_type:
        # Some front ends name the error in the body alone: "com.amazon.coral#Throttling…".
        error_type = str(_fields(body).get("__type", "")).rpartition("#")[2]
    content_type = headers.get("content-type", "application/json")
    return Refusal(status, error_type, body, content_type)


def translate(refusal: Refusal, endpoint: str) -> tuple[ProxyError, Retry]:
    """The error a client gets for ``refusal``, and whether to try again before it does."""
    said = _fields(refusal.body)
    message = str(said.get("message") or said.get("Message") or "")
    error_type, status = refusal.error_type, refusal.status
    log_message = f"SageMaker answered {status} {error_type}: {message}"

    if error_type in _THROTTLING or (status == 429 and not error_type):
        return Throttled(
            "SageMaker is throttling requests to this model; try again shortly",
            headers={"Retry-After": "1"},
            log_message=log_message,
            refusal=refusal,
        ), Retry.SOON
    if error_type in _ENDED:
        return _credentials_refused(error_type, message), Retry.WITH_NEW_CREDENTIALS
    if error_type in _SKEWED or (error_type in _DENIED and _SKEW.match(message)):
        return _credentials_refused(error_type, message), Retry.BY_ITS_CLOCK
    if error_type in _DENIED or status == 403:
        return _credentials_refused(error_type, message), Retry.NEVER
    if error_type == "ModelError" or status == 424:
        return _model_error(refusal, said), Retry.NEVER
    if (
        error_type in ("ModelNotReadyException", "ServiceUnavailable")
        or status == 503
        or (status == 400 and "no capacity" in message)
    ):
        return ModelNotReady(endpoint, log_message=log_message, refusal=refusal), Retry.NEVER
    if status == 400 and _NOT_FOUND.search(message):
        return ModelNotFound(endpoint, refusal=refusal), Retry.NEVER
    if 400 <= status < 500:
        error: ProxyError = InvalidRequest(
            message or "SageMaker refused the request", log_message=log_message, refusal=refusal
        )
        error.status = status
        return error, Retry.NEVER
    return UpstreamFailed(
        f"SageMaker failed ({error_type or status})",
        log_message=log_message,
        # What is no error (a redirect) is nothing to pass on as one.
        refusal=refusal if status >= 400 else None,
    ), Retry.NEVER


def stream_error(name: str, payload: bytes) -> ProxyError:
    """The error for an exception frame in the middle of an event stream."""
    said = _fields(payload)
    code = str(said.get("ErrorCode", ""))
    message = str(said.get("Message") or said.get("message") or "")
    log_message = f"the stream ended with {name} {code}"
    if name != "ModelStreamError":  # whose message may be the container's, as an answer's is
        log_message += f": {message}"
    if code == "ModelInvocationTimeExceeded":
        return DeadlineExceeded(
            "the model took longer than SageMaker allows", log_message=log_message
        )
    return UpstreamFailed(
        f"the model's stream broke ({code or name})"
        + (f": {message[:_SHOWN_CHARACTERS]}" if name == "ModelStreamError" and message else ""),
        log_message=log_message,
    )


def no_credentials(problem: str | None) -> CredentialsRefused:
    """The error when there is nothing to sign with; ``problem``, why, is for the log."""
    return CredentialsRefused(
        "the proxy has no valid AWS credentials; its operator finds the reason in the log",
        log_message=f"no credentials to sign with: {problem}",
    )


def missing_permission(message: str) -> str | None:
    """The IAM action and resource that, in AWS's words, the role lacks; None if they say no such.

    In words for the operator.
    """
    if denied := _NOT_AUTHORIZED.search(message):
        action, resource = denied.groups()
        return f"the proxy's role lacks the IAM action {action} on {resource or '*'}"
    return None


def _credentials_refused(error_type: str, message: str) -> CredentialsRefused:
    return CredentialsRefused(
        "the proxy is not allowed to call this model, or its AWS credentials are not valid; "
        "its operator finds the reason in the log",
        log_message=missing_permission(message)
        or f"AWS refused the proxy's credentials: {error_type}: {message}",
    )


def _model_error(refusal: Refusal, said: dict[str, object]) -> ProxyError:
    original = said.get("OriginalStatusCode")
    status = original if isinstance(original, int) else 0
    text = str(said.get("OriginalMessage") or "")
    if 400 <= status < 500:
        return ContainerError(ContainerAnswer(status, text), refusal=refusal)
    # The container's words are the client's alone: they may quote the request. The operator finds
    # them in the container's own log.
    where = said.get("LogStreamArn")
    log_message = f"the container answered {status}" + (f"; its log: {where}" if where else "")
    # A container that does not answer in SageMaker's time has no status of its own.
    summary = str(said.get("Message") or said.get("message") or text)
    if status == 0 and "timed out" in summary:
        return DeadlineExceeded(
            "the model took longer than SageMaker allows", log_message=log_message, refusal=refusal
        )
    return UpstreamFailed(
        f"the model failed with status {status}"
        + (f": {text[:_SHOWN_CHARACTERS]}" if text else ""),
        log_message=log_message,
        refusal=refusal,
    )


def _fields(body: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
