"""Says what went wrong in the words of Anthropic's API."""

from __future__ import annotations

from proxy.errors import InvalidRequest, ProxyError

# Its reference, "Errors", has a type for each status.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_json(error: ProxyError) -> dict[str, object]:
    """The error in its envelope; an answer adds the request's id."""
    kind = _TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    said: dict[str, object] = {"type": kind, "message": error.shown_message}
    if isinstance(error, InvalidRequest) and error.param == "thread":
        # By this the SDK's tool runner knows to send the whole conversation each time.
        said["details"] = {"error_code": "thread_unsupported_request"}
    return {"type": "error", "error": said}
