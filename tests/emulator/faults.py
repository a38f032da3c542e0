"""The faults that an endpoint can be told to have, queued for the calls to come."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.emulator.answers import AwsError, container_error, endpoint_not_found
from tests.emulator.names import CALLER, endpoint_arn

INVOKE = "InvokeEndpoint"
STREAM = "InvokeEndpointWithResponseStream"
ASYNC = "InvokeEndpointAsync"


@dataclass(frozen=True)
class Fault:
    """One fault; each kind reads the fields that concern it.

    `seconds` of slow_first_byte and half_closed, `delay` between the chunks of slow_body, `after`
    so many whole events for the stream_ kinds, `error_code` of stream_model_error, `original_…` of
    model_error.
    """

    kind: str
    seconds: float = 1.0
    delay: float = 0.05
    after: int = 1
    message: str = ""
    error_code: str = "ModelInvocationTimeExceeded"
    original_status: int = 500
    original_message: str = "Internal Server Error"


def _refusal(status: int, kind: str, default: str) -> "Refusal":
    return lambda fault, operation, endpoint, region: AwsError.of(
        status, kind, fault.message or default
    )


def _throttled_null(fault: Fault, operation: str, endpoint: str, region: str) -> AwsError:
    return AwsError(400, "ThrottlingException", {"message": None})


def _model_error(fault: Fault, operation: str, endpoint: str, region: str) -> AwsError:
    return container_error(endpoint, region, fault.original_status, fault.original_message)


def _access_denied(fault: Fault, operation: str, endpoint: str, region: str) -> AwsError:
    action = f"sagemaker:{operation}"
    return AwsError.of(
        403,
        "AccessDeniedException",
        f"User: {CALLER} is not authorized to perform: {action} on resource: "
        f"{endpoint_arn(endpoint, region)} because no identity-based policy allows the "
        f"{action} action",
    )


def _not_found(fault: Fault, operation: str, endpoint: str, region: str) -> AwsError:
    return endpoint_not_found(endpoint)


Refusal = Callable[[Fault, str, str, str], AwsError]

REFUSALS: dict[str, Refusal] = {
    "validation_error": _refusal(
        400, "ValidationError", "1 validation error detected: the value failed a constraint"
    ),
    "throttled": _refusal(400, "ThrottlingException", "Rate exceeded"),
    "throttled_null": _throttled_null,
    "not_found": _not_found,
    "not_ready": _refusal(
        429,
        "ModelNotReadyException",
        "Model is not ready to serve inference requests. Please try again.",
    ),
    "no_capacity": _refusal(
        400,
        "ValidationError",
        "Inference Component has no capacity to process this request. ApplicationAutoScaling may "
        "be in-progress (if configured) or try to increase the capacity by invoking "
        "UpdateInferenceComponentRuntimeConfig API.",
    ),
    "model_error": _model_error,
    "service_unavailable": _refusal(
        503, "ServiceUnavailable", "The service is unavailable. Try your call again."
    ),
    "internal_failure": _refusal(500, "InternalFailure", "An internal failure occurred."),
    "internal_dependency": _refusal(
        530,
        "InternalDependencyException",
        "Your request caused an exception with an internal dependency.",
    ),
    "access_denied": _access_denied,
    "expired_token": _refusal(
        403, "ExpiredTokenException", "The security token included in the request is expired"
    ),
}
IN_REQUEST = {"reset_in_request"}
BEFORE_ANSWER = {
    "slow_first_byte",
    "drop_before_answer",
    "reset_before_answer",
    "half_closed",
    "garbage",
}
IN_BODY = {"slow_body", "drop_in_body", "reset_in_body", "reset_after_body"}
IN_STREAM = {
    "stream_break",
    "stream_model_error",
    "stream_internal_failure",
    "stream_bad_crc",
    "stream_end_early",
}
KINDS = REFUSALS.keys() | IN_REQUEST | BEFORE_ANSWER | IN_BODY | IN_STREAM


class FaultQueue:
    """Faults by endpoint; a fault waits for a call that it can happen to."""

    def __init__(self) -> None:
        self._faults: dict[str, list[tuple[Fault, float]]] = {}
        self._lock = threading.Lock()

    def add(self, endpoint: str, kind: str, times: int | None = 1, **params: Any) -> None:
        """Queue a fault for so many calls, or for all of them when `times` is None."""
        if kind not in KINDS:
            raise ValueError(f"no fault {kind!r}; there are {', '.join(sorted(KINDS))}")
        fault = Fault(kind, **params)
        with self._lock:
            left = math.inf if times is None else times
            self._faults.setdefault(endpoint, []).append((fault, left))

    def clear(self, endpoint: str | None = None) -> None:
        """Forget every fault, or those of one endpoint."""
        with self._lock:
            if endpoint is None:
                self._faults.clear()
            else:
                self._faults.pop(endpoint, None)

    def take(self, endpoint: str, operation: str, *, is_read: bool = True) -> Fault | None:
        """Return the fault that this call, whose body is read or not yet, has to suffer, if any."""
        with self._lock:
            queue = self._faults.get(endpoint, [])
            for index, (fault, left) in enumerate(queue):
                if (fault.kind in IN_REQUEST) == is_read or not _happens_to(fault, operation):
                    continue
                if left > 1:
                    queue[index] = (fault, left - 1)
                else:
                    del queue[index]
                return fault
            return None


def _happens_to(fault: Fault, operation: str) -> bool:
    if fault.kind in IN_STREAM:
        return operation == STREAM
    return fault.kind not in IN_BODY or operation != ASYNC
