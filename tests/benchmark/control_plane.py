"""The least of AWS that a gateway needs beside the runtime: a list of endpoints, credentials."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.benchmark.programs import Failed

_PAGE = 100  # as SageMaker's largest
_MADE = 1_750_000_000.0

# A gateway that has asked for no description for so long has them all.
_QUIET_SECONDS = 0.8
_PATIENCE_SECONDS = 240.0

# botocore renews what ends within a quarter of an hour whenever it looks.
_LIFETIME = timedelta(minutes=12)

Answer = dict[str, Any]


class ControlPlane:
    """Lists endpoints, as many as it has names; as a context manager.

    It also hands out a container's credentials, so close to their end that each look renews
    them. `listed` and `issued` count how often either was asked for.
    """

    def __init__(self, endpoints: Sequence[str]) -> None:
        self.endpoints = list(endpoints)
        self.listed = 0
        self.issued = 0
        self._described_at = 0.0
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].partition(".")[2]
                self._send(plane._answer(operation, json.loads(body)))

            def do_GET(self) -> None:
                self._send(plane._credentials())

            def _send(self, answer: Answer) -> None:
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), daemon=True)

    @property
    def url(self) -> str:
        """What AWS_ENDPOINT_URL_SAGEMAKER has to be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def credentials_url(self) -> str:
        """What AWS_CONTAINER_CREDENTIALS_FULL_URI has to be."""
        return f"{self.url}/credentials"

    def wait_until_described(self) -> float:
        """Wait until a gateway that has started knows what runs where; how long that took.

        Raises `Failed` if that takes minutes.
        """
        began = time.monotonic()
        while time.monotonic() - max(self._described_at, began) < _QUIET_SECONDS:
            if time.monotonic() - began > _PATIENCE_SECONDS:
                raise Failed("the gateway does not stop to ask what runs where")
            time.sleep(0.1)
        return max(self._described_at - began, 0.0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, operation: str, asked: Answer) -> Answer:
        if operation.startswith("Describe"):
            self._described_at = time.monotonic()
        answers: dict[str, Callable[[Answer], Answer]] = {
            "ListEndpoints": self._list_endpoints,
            "ListInferenceComponents": lambda _: {"InferenceComponents": []},
            "DescribeEndpoint": _describe_endpoint,
            "DescribeEndpointConfig": _describe_config,
            "DescribeModel": _describe_model,
        }
        return answers[operation](asked)

    def _list_endpoints(self, asked: Answer) -> Answer:
        start = int(asked.get("NextToken", 0))
        self.listed += start == 0
        end = start + _PAGE
        answer: Answer = {"Endpoints": [_endpoint(name) for name in self.endpoints[start:end]]}
        if end < len(self.endpoints):
            answer["NextToken"] = str(end)
        return answer

    def _credentials(self) -> Answer:
        self.issued += 1
        return {
            "AccessKeyId": f"ASIABENCHMARK{self.issued:07d}",
            "SecretAccessKey": f"secret-{self.issued}",
            "Token": f"token-{self.issued}",
            "Expiration": (datetime.now(UTC) + _LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A gateway that ends resets its connections."""


def _endpoint(name: str) -> Answer:
    return {
        "EndpointName": name,
        "EndpointArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}",
        "EndpointStatus": "InService",
        "CreationTime": _MADE,
        "LastModifiedTime": _MADE,
    }


def _describe_endpoint(asked: Answer) -> Answer:
    return _endpoint(asked["EndpointName"]) | {"EndpointConfigName": asked["EndpointName"]}


def _describe_config(asked: Answer) -> Answer:
    name = asked["EndpointConfigName"]
    variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.g5.xlarge"}
    return {
        "EndpointConfigName": name,
        "EndpointConfigArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/{name}",
        "CreationTime": time.time(),
        "ProductionVariants": [variant],
    }


def _describe_model(asked: Answer) -> Answer:
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/vllm:latest"
    return {
        "ModelName": asked["ModelName"],
        "ModelArn": f"arn:aws:sagemaker:us-east-1:123456789012:model/{asked['ModelName']}",
        "CreationTime": time.time(),
        "PrimaryContainer": {"Image": image, "Environment": {}},
    }
