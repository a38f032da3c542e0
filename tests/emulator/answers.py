"""The refusals of the SageMaker runtime, in the shapes AWS sends them."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from tests.emulator.names import ACCOUNT, log_hint, log_stream_arn


class AwsError(Exception):
    """A call that AWS answers with an error: a status, a type and a JSON body."""

    def __init__(self, status: int, kind: str, body: Mapping[str, Any]) -> None:
        super().__init__(f"{kind} ({status})")
        self.status = status
        self.kind = kind
        self.body = body

    @classmethod
    def of(cls, status: int, kind: str, message: str) -> "AwsError":
        """Make the usual error, which has a message and nothing else."""
        return cls(status, kind, {"message": message})

    @property
    def message(self) -> str:
        """The text a person reads, wherever this kind of error keeps it."""
        return str(self.body.get("Message") or self.body.get("message") or "")

    def response(self) -> web.Response:
        """Render the error as AWS does."""
        return web.Response(
            status=self.status,
            headers={"x-amzn-errortype": self.kind},
            content_type="application/json",
            body=json.dumps(self.body).encode(),
        )


def endpoint_not_found(endpoint: str) -> AwsError:
    """Refuse a call to an endpoint that does not exist."""
    message = f"Endpoint {endpoint} of account {ACCOUNT} not found."
    return AwsError.of(400, "ValidationError", message)


def component_missing() -> AwsError:
    """Refuse a call that does not say which of an endpoint's inference components it means."""
    return AwsError.of(
        400,
        "ValidationError",
        "Inference Component Name header is required for endpoints to which you plan to deploy "
        "inference components. Please include Inference Component Name header or consider using "
        "SageMaker models.",
    )


def component_not_found(component: str) -> AwsError:
    """Refuse a call to an inference component that the endpoint does not have."""
    message = f"Inference Component {component} of account {ACCOUNT} not found."
    return AwsError.of(400, "ValidationError", message)


def container_error(endpoint: str, region: str, status: int, text: str) -> AwsError:
    """Report what a container answered instead of a result."""
    side = "client" if 400 <= status < 500 else "server"
    message = (
        f'Received {side} error ({status}) from primary with message "{text}". '
        f"{log_hint(endpoint, region)}"
    )
    return _model_error(endpoint, region, status, message, text)


def container_unreachable(endpoint: str, region: str) -> AwsError:
    """Report a container that closed the connection, or never took it."""
    message = (
        "Received server error (0) from primary and could not load the entire response body. "
        f"{log_hint(endpoint, region)}"
    )
    return _model_error(endpoint, region, 0, message, "")


def container_timed_out(endpoint: str, region: str) -> AwsError:
    """Report a container that did not answer in time."""
    text = (
        "Your invocation timed out while waiting for a response from container primary. "
        "Review the latency metrics for each container in Amazon CloudWatch, resolve the issue, "
        "and try again."
    )
    return container_error(endpoint, region, 0, text)


def _model_error(endpoint: str, region: str, status: int, message: str, text: str) -> AwsError:
    return AwsError(
        424,
        "ModelError",
        {
            "Message": message,
            "OriginalStatusCode": status,
            "OriginalMessage": text,
            "LogStreamArn": log_stream_arn(endpoint, region),
        },
    )
