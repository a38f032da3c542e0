"""What can go wrong, as the client reads it.

    ProxyError                      500 server_error
    ├── InvalidRequest              400 invalid_request_error
    │   ├── RequestTooLarge         413
    │   └── HeadersTooLarge         431
    ├── InvalidKey                  401 invalid_api_key
    ├── Forbidden                   403 permission_denied
    ├── RouteNotFound               404 not_found
    │   ├── ModelNotFound           404 model_not_found
    │   └── ResultNotFound          404 result_not_found
    ├── MethodNotAllowed            405
    ├── RateLimited                 429 rate_limit_exceeded
    │   └── Throttled               429
    ├── ContainerError              the container's own 4xx and body
    ├── InvocationFailed            424 model_error
    ├── UpstreamFailed              502 upstream_error
    │   └── CredentialsRefused      502
    ├── Unavailable                 503 service_unavailable
    │   ├── ModelNotReady           503
    │   ├── Overloaded              503
    │   └── TooManyConnections      503
    └── DeadlineExceeded            504 timeout

Every error carries two texts: ``message`` for the client, ``log_message`` for the operator. Only
the second may name AWS accounts, roles or addresses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error exactly as SageMaker answered it, for the paths that speak SageMaker's protocol.

    ``error_type`` is the value of ``x-amzn-errortype`` without its URL; ``body`` the raw JSON.
    """

    status: int
    error_type: str
    body: bytes
    content_type: str = "application/json"


class ProxyError(Exception):
    """A request that fails in a way we can explain.

    ``status``, ``type`` and ``code`` follow OpenAI's error object; ``native_type`` is the nearest
    ``x-amzn-errortype`` where SageMaker itself did not say one.
    """

    status = 500
    type = "server_error"
    code: str | None = "internal_error"
    native_type = "InternalFailure"

    def __init__(
        self,
        message: str,
        *,
        log_message: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.log_message = log_message
        self.param = param
        self.headers: dict[str, str] = dict(headers or {})
        self.refusal = refusal

    def to_openai(self) -> dict[str, object]:
        """The error object of OpenAI's API reference, in its envelope."""
        return {
            "error": {
                "message": self.shown_message,
                "type": self.type,
                "code": self.code,
                "param": self.param,
            }
        }

    @property
    def shown_message(self) -> str:
        """The message in the error object."""
        return self.message


class InvalidRequest(ProxyError):
    """The request itself is wrong, and would be wrong again."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"
    native_type = "ValidationError"


class RequestTooLarge(InvalidRequest):
    """The body is over ``server.max_body_bytes``, or what SageMaker takes of it."""

    status = 413
    code = "request_too_large"


class HeadersTooLarge(InvalidRequest):
    """Request line and headers are over ``server.max_header_bytes``."""

    status = 431
    code = "headers_too_large"


class InvalidKey(ProxyError):
    """No key, or not one of ours."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    native_type = "UnrecognizedClientException"


class Forbidden(ProxyError):
    """A key of ours, but not for this."""

    status = 403
    type = "invalid_request_error"
    code = "permission_denied"
    native_type = "AccessDeniedException"


class RouteNotFound(ProxyError):
    """No such path."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"
    native_type = "UnknownOperationException"


class ModelNotFound(RouteNotFound):
    """No such model, or not for this key: the caller cannot tell which."""

    code = "model_not_found"
    native_type = "ValidationError"

    def __init__(self, model: str, *, refusal: Refusal | None = None) -> None:
        super().__init__(
            f"The model {model[:100]!r} does not exist or you do not have access to it.",
            param="model",
            refusal=refusal,
        )


class ResultNotFound(RouteNotFound):
    """No such result of an asynchronous call, or not for this key: the caller cannot tell which."""

    code = "result_not_found"
    native_type = "ResourceNotFound"

    def __init__(self) -> None:
        super().__init__("There is no such result of an asynchronous call, or not for this key.")


class MethodNotAllowed(ProxyError):
    """The path exists, the method does not. ``headers`` carries ``Allow``."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    native_type = "UnknownOperationException"


class RateLimited(ProxyError):
    """The key has used up one of its limits; ``Retry-After`` says for how long."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    native_type = "ThrottlingException"


class Throttled(RateLimited):
    """SageMaker throttles, and went on doing so through our retries."""


class InvocationFailed(ProxyError):
    """An asynchronous call has failed. ``refusal`` has what SageMaker wrote of it."""

    status = 424
    code = "model_error"
    native_type = "ModelError"


class UpstreamFailed(ProxyError):
    """SageMaker, the model, or the way to them failed."""

    status = 502
    code = "upstream_error"


class CredentialsRefused(UpstreamFailed):
    """AWS refused the proxy's own credentials: the operator's matter, not the client's."""


class Unavailable(ProxyError):
    """Not now; ``Retry-After`` says when to try again."""

    status = 503
    code = "service_unavailable"
    native_type = "ServiceUnavailable"


class ModelNotReady(Unavailable):
    """The model is asleep or starting, and a later call may find it awake."""

    def __init__(
        self, model: str, *, log_message: str | None = None, refusal: Refusal | None = None
    ) -> None:
        super().__init__(
            f"the model {model[:100]!r} is not ready to answer yet; try again later",
            headers={"Retry-After": "30"},
            log_message=log_message,
            refusal=refusal,
        )


class Overloaded(Unavailable):
    """The worker has as many requests as it takes at once, and no place to wait was free."""

    code = "overloaded"


class TooManyConnections(Unavailable):
    """This connection is over ``server.max_connections``."""

    code = "too_many_connections"


class DeadlineExceeded(ProxyError):
    """A time-out of ours or of SageMaker's passed."""

    status = 504
    code = "timeout"


@dataclass(frozen=True, slots=True)
class ContainerAnswer:
    """What the model's container said when it refused: its status and its text."""

    status: int
    body: str = field(repr=False)


class ContainerError(ProxyError):
    """The model's container refused the request with a 4xx of its own."""

    type = "invalid_request_error"
    code = "model_error"
    native_type = "ModelError"

    def __init__(self, answer: ContainerAnswer, *, refusal: Refusal) -> None:
        super().__init__(answer.body or "the model refused the request", refusal=refusal)
        self.status = answer.status
        self.answer = answer
        if answer.status == RateLimited.status:
            self.type, self.code = RateLimited.type, RateLimited.code

    @property
    def shown_message(self) -> str:
        """The container's message alone, out of whatever JSON it is in.

        It is shown where the answer cannot be the container's body itself, as in a stream.
        """
        return _message_in(self.message)


def _message_in(text: str) -> str:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key in ("error", "message"):
        if isinstance(said, dict) and key in said:
            said = said[key]
    return said if isinstance(said, str) else text
