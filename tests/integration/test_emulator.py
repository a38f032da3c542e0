"""The embedded SageMaker is called with boto3 and by hand, and answers as AWS would."""

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EventStreamError,
)
from botocore.utils import InstanceMetadataRegionFetcher
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import ProtocolError

from tests.emulator import eventstream, loopback
from tests.emulator.answers import AwsError
from tests.emulator.container_client import ContainerClient, StreamFailed, next_chunk
from tests.emulator.containers import chat
from tests.emulator.containers.wording import answer, tokens
from tests.emulator.demo import demo_endpoints
from tests.emulator.emulator import ACCESS_KEY, SECRET, Emulator
from tests.emulator.metadata import MetadataService

JSON = "application/json"
QUESTION = "Wie heißt die Katze in 世界?"


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with Emulator(seed=7) as emulator:
        demo_endpoints(emulator, token_delay=0)
        yield emulator


@pytest.fixture
def emulator(running: Emulator) -> Iterator[Emulator]:
    yield running
    running.clear_faults()


@pytest.fixture(scope="module")
def make_client(running: Emulator) -> Iterator[Callable[..., Any]]:
    clients = []

    def make(service: str, **keys: str) -> Any:
        urls = {"sagemaker-runtime": running.runtime_url, "s3": running.s3_url}
        client = boto3.client(
            service,
            region_name=running.region,
            endpoint_url=urls.get(service, running.control_url),
            aws_access_key_id=keys.get("access_key", ACCESS_KEY),
            aws_secret_access_key=keys.get("secret", SECRET),
            aws_session_token=keys.get("token"),
            config=Config(retries={"total_max_attempts": 1}, read_timeout=10),
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def runtime(make_client: Callable[..., Any]) -> Any:
    return make_client("sagemaker-runtime")


@pytest.fixture(scope="module")
def control(make_client: Callable[..., Any]) -> Any:
    return make_client("sagemaker")


def chat_body(content: Any = QUESTION, **more: Any) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": content}], **more}).encode()


def invoke_chat(runtime: Any, body: bytes) -> dict[str, Any]:
    answer = runtime.invoke_endpoint(EndpointName="demo-chat", Body=body, ContentType=JSON)
    decoded: dict[str, Any] = json.loads(answer["Body"].read())
    return decoded


def stream(runtime: Any, endpoint: str, body: bytes) -> list[bytes]:
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body=body, ContentType=JSON
    )
    return [event["PayloadPart"]["Bytes"] for event in answer["Body"]]


def sse(text: str) -> list[dict[str, Any]]:
    lines = [line for line in text.split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call()
    response: dict[str, Any] = caught.value.response
    return response


def signed(
    url: str,
    body: bytes = b"x",
    *,
    at: datetime | None = None,
    region: str = "us-east-1",
    service: str = "sagemaker",
    headers: dict[str, str] | None = None,
    secret: str = SECRET,
) -> dict[str, str]:
    """Sign with the standard's own steps, at any time and for any scope."""
    request = AWSRequest("POST", url, data=body, headers=headers or {})
    auth = SigV4Auth(Credentials(ACCESS_KEY, secret), service, region)
    stamp = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = stamp
    request.context["timestamp"] = stamp
    to_sign = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(to_sign, request))
    return dict(request.headers.items())


def echo_url(emulator: Emulator) -> str:
    return f"{emulator.runtime_url}/endpoints/demo-echo/invocations"


class TestInvoke:
    def test_plain_answer_is_the_containers(self, emulator: Emulator, runtime: Any) -> None:
        body = bytes(range(256)) * 40
        found = runtime.invoke_endpoint(
            EndpointName="demo-echo",
            Body=body,
            ContentType="image/png",
            CustomAttributes="trace=1",
        )
        assert found["Body"].read() == body
        assert found["ContentType"] == "image/png"
        assert found["CustomAttributes"] == "trace=1"
        assert found["InvokedProductionVariant"] == "AllTraffic"
        assert found["ResponseMetadata"]["RequestId"]

    def test_large_body(self, runtime: Any) -> None:
        body = b"\x00\xff" * (13 * 1024 * 1024)
        found = runtime.invoke_endpoint(EndpointName="demo-echo", Body=body)
        assert found["Body"].read() == body

    def test_stream_reassembles_and_is_cut_awkwardly(self, runtime: Any) -> None:
        body = chat_body(stream=True)
        whole = runtime.invoke_endpoint(EndpointName="demo-chat", Body=body, ContentType=JSON)
        parts = stream(runtime, "demo-chat", body)
        assert b"".join(parts) == whole["Body"].read()
        assert any(len(part) == 1 for part in parts)
        assert any(_is_half_a_character(part) for part in parts)

    def test_stream_names_the_containers_type(self, runtime: Any) -> None:
        found = runtime.invoke_endpoint_with_response_stream(
            EndpointName="demo-chat", Body=chat_body(stream=True), ContentType=JSON, Accept="a/b"
        )
        list(found["Body"])
        headers = found["ResponseMetadata"]["HTTPHeaders"]
        assert found["ContentType"].startswith("text/event-stream")
        assert headers["content-type"] == "application/vnd.amazon.eventstream"

    def test_calls_are_remembered(self, emulator: Emulator, runtime: Any) -> None:
        before = len(emulator.calls("demo-echo"))
        runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"remember", TargetVariant="blue")
        (call,) = emulator.calls("demo-echo")[before:]
        assert call.operation == "InvokeEndpoint"
        assert call.body == b"remember"
        assert call.headers["x-amzn-sagemaker-target-variant"] == "blue"
        assert call.arrived <= time.monotonic()

    def test_container_sees_sagemakers_headers(self, emulator: Emulator, runtime: Any) -> None:
        seen: list[dict[str, str]] = []

        async def invocations(request: web.Request) -> web.Response:
            seen.append(dict(request.headers))
            return web.Response()

        app = web.Application()
        app.add_routes([web.post("/invocations", invocations)])
        emulator.add_endpoint("headers", app)
        found = runtime.invoke_endpoint_with_response_stream(
            EndpointName="headers", Body=b"x", ContentType="a/b", Accept="c/d", SessionId="s"
        )
        assert list(found["Body"]) == []
        emulator.remove_endpoint("headers")
        (headers,) = seen
        assert (headers["Content-Type"], headers["Accept"]) == ("a/b", "c/d")
        assert headers["X-Amzn-SageMaker-Session-Id"] == "s"
        assert not {"Authorization", "X-Amz-Date", "X-Amzn-SageMaker-Accept"} & headers.keys()

    def test_unknown_endpoint(self, runtime: Any) -> None:
        error = refusal(lambda: runtime.invoke_endpoint(EndpointName="nowhere", Body=b"x"))
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert error["Error"] == {
            "Code": "ValidationError",
            "Message": "Endpoint nowhere of account 123456789012 not found.",
        }

    def test_unreachable_container(self, emulator: Emulator, runtime: Any) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
            emulator.add_endpoint("dead", url)
            error = refusal(lambda: runtime.invoke_endpoint(EndpointName="dead", Body=b"x"))
        emulator.remove_endpoint("dead")
        assert error["Error"]["Code"] == "ModelError"
        assert error["OriginalStatusCode"] == 0

    def test_container_that_breaks_in_a_stream(self, emulator: Emulator, runtime: Any) -> None:
        async def invocations(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"half an ans")
            assert request.transport is not None
            request.transport.close()
            return response

        app = web.Application()
        app.add_routes([web.post("/invocations", invocations)])
        emulator.add_endpoint("breaking", app)
        found = runtime.invoke_endpoint_with_response_stream(EndpointName="breaking", Body=b"x")
        with pytest.raises(EventStreamError) as caught:
            list(found["Body"])
        found["Body"].close()
        emulator.remove_endpoint("breaking")
        assert caught.value.response["Error"]["Code"] == "ModelStreamError"

    def test_component_must_be_named(self, emulator: Emulator, runtime: Any) -> None:
        emulator.add_endpoint("shared", chat.application(), kind="components", components=["a"])

        def call(**more: str) -> Any:
            return runtime.invoke_endpoint(
                EndpointName="shared", Body=chat_body(), ContentType=JSON, **more
            )

        assert "header is required" in refusal(call)["Error"]["Message"]
        assert "not found" in refusal(lambda: call(InferenceComponentName="b"))["Error"]["Message"]
        assert call(InferenceComponentName="a")["Body"].read()
        emulator.remove_endpoint("shared")


def _is_half_a_character(part: bytes) -> bool:
    try:
        part.decode()
    except UnicodeDecodeError:
        return True
    return False


class TestAsync:
    def test_output_reaches_s3(self, runtime: Any, make_client: Callable[..., Any]) -> None:
        s3 = make_client("s3")
        s3.create_bucket(Bucket="inputs")
        s3.put_object(Bucket="inputs", Key="a/b.csv", Body=b"80,3,10,20\n")
        found = runtime.invoke_endpoint_async(
            EndpointName="demo-regression",
            InputLocation="s3://inputs/a/b.csv",
            ContentType="text/csv",
            InferenceId="mine",
        )
        assert found["InferenceId"] == "mine"
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 202
        assert _wait_for_object(s3, found["OutputLocation"]) == b"1083.5\n"

    def test_inline_input_and_names(self, runtime: Any, make_client: Callable[..., Any]) -> None:
        found = runtime.invoke_endpoint_async(
            EndpointName="demo-echo", Body=b"inline", S3OutputPathExtension="x/y", Filename="z.bin"
        )
        assert found["OutputLocation"].endswith("/demo-echo/x/y/output/z.bin")
        assert _wait_for_object(make_client("s3"), found["OutputLocation"]) == b"inline"

    def test_failure_reaches_s3(self, runtime: Any, make_client: Callable[..., Any]) -> None:
        s3 = make_client("s3")
        found = runtime.invoke_endpoint_async(
            EndpointName="demo-chat", Body=b"{}", ContentType=JSON
        )
        failure = _wait_for_object(s3, found["FailureLocation"])
        assert b"Received client error (400) from primary" in failure
        found = runtime.invoke_endpoint_async(
            EndpointName="demo-chat", InputLocation="s3://no-such-bucket/x"
        )
        assert b"NoSuchBucket" in _wait_for_object(s3, found["FailureLocation"])

    @pytest.mark.parametrize(
        "given_input",
        [
            {},
            {"InputLocation": "http://elsewhere/x"},
            {"Body": b"x" * 128_001},
            {"Body": b"x", "InputLocation": "s3://a/b"},
        ],
        ids=["none", "not s3", "too large", "both"],
    )
    def test_refused_input(self, runtime: Any, given_input: dict[str, Any]) -> None:
        error = refusal(
            lambda: runtime.invoke_endpoint_async(EndpointName="demo-echo", **given_input)
        )
        assert error["Error"]["Code"] == "ValidationError"

    def test_s3_knows_sessions_and_permissions(
        self, emulator: Emulator, make_client: Callable[..., Any]
    ) -> None:
        emulator.put_object("s3://emulator-async-inference/a", b"x")
        emulator.credentials.add("ASIAOFSTORAGEEXAMPLE", "secret", "token")

        def code(key: str = "a", **keys: str) -> str:
            s3 = make_client("s3", **({"access_key": ACCESS_KEY, "secret": SECRET} | keys))
            try:
                s3.get_object(Bucket="emulator-async-inference", Key=key)["Body"].close()
            except ClientError as exc:
                return str(exc.response["Error"]["Code"])
            return "OK"

        temporary = {"access_key": "ASIAOFSTORAGEEXAMPLE", "secret": "secret"}
        assert code() == "OK"
        assert code("absent") == "NoSuchKey"
        assert code(access_key="AKIANOBODYEXAMPLE123") == "InvalidAccessKeyId"
        assert code(**temporary, token="other") == "InvalidToken"
        assert code(**temporary, token="token") == "OK"
        emulator.credentials.expire("ASIAOFSTORAGEEXAMPLE")
        assert code(**temporary, token="token") == "ExpiredToken"
        with emulator.storage.denying("s3:ListBucket"):
            assert (code(), code("absent")) == ("OK", "AccessDenied")
        with emulator.storage.denying("s3:GetObject"):
            assert code() == "AccessDenied"
        used = emulator.permissions_used()
        assert ("s3:GetObject", "arn:aws:s3:::emulator-async-inference/a") in used
        assert ("s3:ListBucket", "arn:aws:s3:::emulator-async-inference") in used


def _wait_for_object(s3: Any, uri: str) -> bytes:
    parts = urlsplit(uri)
    where = {"Bucket": parts.netloc, "Key": parts.path[1:]}
    s3.get_waiter("object_exists").wait(WaiterConfig={"Delay": 0.05, "MaxAttempts": 200}, **where)
    body: bytes = s3.get_object(**where)["Body"].read()
    return body


class TestSignature:
    @pytest.fixture
    def refused(self, emulator: Emulator) -> Callable[..., tuple[int, str, str]]:
        def post(headers: dict[str, str], body: bytes = b"x") -> tuple[int, str, str]:
            answer = requests.post(echo_url(emulator), data=body, headers=headers, timeout=10)
            message = answer.json()["message"] if answer.status_code != 200 else answer.text
            return answer.status_code, answer.headers.get("x-amzn-errortype", ""), message

        return post

    def test_right(self, emulator: Emulator, refused: Any) -> None:
        assert refused(signed(echo_url(emulator))) == (200, "", "x")

    def test_missing(self, refused: Any) -> None:
        status, kind, _ = refused({})
        assert (status, kind) == (403, "MissingAuthenticationTokenException")

    def test_incomplete(self, refused: Any) -> None:
        status, kind, _ = refused({"Authorization": "Bearer x"})
        assert (status, kind) == (400, "IncompleteSignatureException")

    @pytest.mark.parametrize(
        ("minutes", "words"), [(-6, "Signature expired: "), (6, "Signature not yet current: ")]
    )
    def test_date_off(self, emulator: Emulator, refused: Any, minutes: int, words: str) -> None:
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        status, kind, message = refused(signed(echo_url(emulator), at=at))
        assert (status, kind) == (403, "InvalidSignatureException")
        assert message.startswith(words)

    def test_date_slightly_off_is_fine(self, emulator: Emulator, refused: Any) -> None:
        at = datetime.now(UTC) - timedelta(minutes=4)
        assert refused(signed(echo_url(emulator), at=at))[0] == 200

    @pytest.mark.parametrize("scope", [{"region": "eu-west-1"}, {"service": "s3"}])
    def test_wrong_scope(self, emulator: Emulator, refused: Any, scope: dict[str, str]) -> None:
        status, kind, message = refused(signed(echo_url(emulator), **scope))  # type: ignore[arg-type]
        assert (status, kind) == (403, "InvalidSignatureException")
        assert "Credential should be scoped" in message

    def test_other_body(self, emulator: Emulator, refused: Any) -> None:
        _, kind, message = refused(signed(echo_url(emulator)), b"y")
        assert kind == "InvalidSignatureException"
        assert "does not match the signature you provided" in message

    def test_unsigned_amazon_header(self, emulator: Emulator, refused: Any) -> None:
        headers = signed(echo_url(emulator)) | {"X-Amz-Extra": "1"}
        _, kind, message = refused(headers)
        assert kind == "InvalidSignatureException"
        assert "x-amz-extra" in message

    def test_claimed_payload_hash_must_be_the_bodys(self, emulator: Emulator, refused: Any) -> None:
        claim = {"X-Amz-Content-SHA256": "0" * 64}
        _, kind, _ = refused(signed(echo_url(emulator), headers=claim))
        assert kind == "InvalidSignatureException"

    def test_wrong_secret(self, make_client: Callable[..., Any]) -> None:
        client = make_client("sagemaker-runtime", secret="wrong")
        error = refusal(lambda: client.invoke_endpoint(EndpointName="demo-echo", Body=b"x"))
        assert error["Error"]["Code"] == "InvalidSignatureException"
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 403

    def test_session_keys(self, emulator: Emulator, make_client: Callable[..., Any]) -> None:
        emulator.credentials.add("ASIATEMPORARY", "hush", "the-token")
        right = make_client(
            "sagemaker-runtime", access_key="ASIATEMPORARY", secret="hush", token="the-token"
        )
        wrong = make_client("sagemaker-runtime", access_key="ASIATEMPORARY", secret="hush")

        def call(client: Any) -> Any:
            return client.invoke_endpoint(EndpointName="demo-echo", Body=b"x")

        assert call(right)["Body"].read() == b"x"
        assert refusal(lambda: call(wrong))["Error"]["Code"] == "UnrecognizedClientException"
        emulator.credentials.expire("ASIATEMPORARY")
        assert refusal(lambda: call(right))["Error"]["Code"] == "ExpiredTokenException"
        emulator.credentials.remove("ASIATEMPORARY")
        assert refusal(lambda: call(right))["Error"]["Code"] == "UnrecognizedClientException"


class TestControlPlane:
    def test_list_goes_over_pages(self, emulator: Emulator, control: Any) -> None:
        names = [f"page-{number:02}" for number in range(25)]
        for name in names:
            emulator.add_endpoint(name, "http://127.0.0.1:9")
        pages = list(
            control.get_paginator("list_endpoints").paginate(
                NameContains="page-", SortBy="Name", SortOrder="Ascending", MaxResults=10
            )
        )
        assert [len(page["Endpoints"]) for page in pages] == [10, 10, 5]
        found = [endpoint["EndpointName"] for page in pages for endpoint in page["Endpoints"]]
        assert found == names
        for name in names:
            emulator.remove_endpoint(name)
        assert not control.list_endpoints(NameContains="page-")["Endpoints"]

    @pytest.mark.parametrize("kind", ["real-time", "serverless", "components", "multi-container"])
    def test_each_kind_can_be_described(self, emulator: Emulator, control: Any, kind: Any) -> None:
        emulator.add_endpoint(
            "kind",
            "http://127.0.0.1:9",
            image="an/image:1",
            instance_type="ml.g7e.2xlarge",
            environment={"MODEL": "tiny"},
            kind=kind,
        )
        assert control.describe_endpoint(EndpointName="kind")["EndpointStatus"] == "InService"
        config = control.describe_endpoint_config(EndpointConfigName="kind")
        (variant,) = config["ProductionVariants"]
        model = control.describe_model(ModelName="kind")
        components = control.list_inference_components(EndpointNameEquals="kind")
        emulator.remove_endpoint("kind")
        containers = model["Containers"] or [model["PrimaryContainer"]]
        assert len(containers) == (2 if kind == "multi-container" else 1)
        assert containers[0]["Image"] == "an/image:1"
        assert containers[0]["Environment"] == {"MODEL": "tiny"}
        assert ("ModelName" in variant) == (kind != "components")
        assert variant.get("InstanceType") == (None if kind == "serverless" else "ml.g7e.2xlarge")
        assert ("ServerlessConfig" in variant) == (kind == "serverless")
        assert len(components["InferenceComponents"]) == (1 if kind == "components" else 0)

    def test_inference_components(self, emulator: Emulator, control: Any) -> None:
        names = [f"part-{number:02}" for number in range(12)]
        emulator.add_endpoint("parts", "http://127.0.0.1:9", kind="components", components=names)
        pages = control.get_paginator("list_inference_components").paginate(
            EndpointNameEquals="parts"
        )
        found = [item for page in pages for item in page["InferenceComponents"]]
        assert [item["InferenceComponentName"] for item in found] == names
        one = control.describe_inference_component(InferenceComponentName="part-03")
        assert one["RuntimeConfig"]["CurrentCopyCount"] == 1
        emulator.remove_endpoint("parts")
        error = refusal(
            lambda: control.describe_inference_component(InferenceComponentName="part-03")
        )
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400


class TestRefusingFaults:
    @pytest.mark.parametrize(
        ("kind", "status", "code", "words"),
        [
            ("throttled", 400, "ThrottlingException", "Rate exceeded"),
            ("not_ready", 429, "ModelNotReadyException", "not ready"),
            ("no_capacity", 400, "ValidationError", "has no capacity to process this request."),
            ("service_unavailable", 503, "ServiceUnavailable", "unavailable"),
            ("internal_failure", 500, "InternalFailure", "internal failure"),
            ("internal_dependency", 530, "InternalDependencyException", "dependency"),
            (
                "access_denied",
                403,
                "AccessDeniedException",
                "is not authorized to perform: sagemaker:InvokeEndpoint on resource: "
                "arn:aws:sagemaker:us-east-1:123456789012:endpoint/demo-echo",
            ),
            ("expired_token", 403, "ExpiredTokenException", "expired"),
        ],
    )
    def test_shape(
        self, emulator: Emulator, runtime: Any, kind: str, status: int, code: str, words: str
    ) -> None:
        emulator.set_fault("demo-echo", kind)
        error = refusal(lambda: runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x"))
        assert error["ResponseMetadata"]["HTTPStatusCode"] == status
        assert error["Error"]["Code"] == code
        assert words in error["Error"]["Message"]
        assert runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")["Body"].read() == b"x"

    def test_throttled_null(self, emulator: Emulator) -> None:
        emulator.set_fault("demo-echo", "throttled_null")
        url = echo_url(emulator)
        found = requests.post(url, data=b"x", headers=signed(url), timeout=10)
        assert found.status_code == 400
        assert found.headers["x-amzn-errortype"] == "ThrottlingException"
        assert found.content == b'{"message": null}'

    def test_model_error(self, emulator: Emulator, runtime: Any) -> None:
        emulator.set_fault(
            "demo-echo", "model_error", original_status=404, original_message="no such thing"
        )
        error = refusal(lambda: runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x"))
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 424
        assert error["OriginalStatusCode"] == 404
        assert error["OriginalMessage"] == "no such thing"
        assert error["LogStreamArn"].endswith(":log-group:/aws/sagemaker/Endpoints/demo-echo")
        assert error["Message"].startswith(
            'Received client error (404) from primary with message "no such thing". See https://'
        )

    def test_queue(self, emulator: Emulator, runtime: Any) -> None:
        def outcome() -> str:
            try:
                runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")
            except ClientError as exc:
                return str(exc.response["Error"]["Code"])
            return "fine"

        emulator.set_fault("demo-echo", "not_ready", times=2)
        emulator.set_fault("demo-echo", "stream_break")
        emulator.set_fault("demo-echo", "throttled", times=None)
        wanted = ["ModelNotReadyException"] * 2 + ["ThrottlingException"] * 3
        assert [outcome() for _ in wanted] == wanted
        emulator.clear_faults()
        assert outcome() == "fine"

    def test_unknown_kind(self, emulator: Emulator) -> None:
        with pytest.raises(ValueError, match="no fault 'tea'"):
            emulator.set_fault("demo-echo", "tea")


class TestFaultsOnTheWire:
    def test_slow_first_byte(self, emulator: Emulator, runtime: Any) -> None:
        emulator.set_fault("demo-echo", "slow_first_byte", seconds=0.3)
        started = time.monotonic()
        assert runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")["Body"].read() == b"x"
        assert time.monotonic() - started >= 0.3

    def test_slow_body(self, emulator: Emulator, runtime: Any) -> None:
        emulator.set_fault("demo-echo", "slow_body", times=2, delay=0.05)
        started = time.monotonic()
        found = runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"12345678")
        assert time.monotonic() - started < 0.2
        assert found["Body"].read() == b"12345678"
        assert time.monotonic() - started >= 0.35
        assert b"".join(stream(runtime, "demo-echo", b"12345678")) == b"12345678"

    def test_drop_before_answer(self, emulator: Emulator, runtime: Any) -> None:
        emulator.set_fault("demo-echo", "drop_before_answer")
        with pytest.raises(ConnectionClosedError):
            runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")

    @pytest.mark.parametrize("kind", ["reset_in_request", "reset_before_answer", "reset_in_body"])
    def test_reset(self, emulator: Emulator, kind: str) -> None:
        emulator.set_fault("demo-echo", kind)
        url = echo_url(emulator)
        host = urlsplit(url)
        connection = http.client.HTTPConnection(host.netloc, timeout=10)
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            connection.request("POST", host.path, b"x", signed(url))
            connection.getresponse().read()
        connection.close()

    def test_reset_after_body(self, emulator: Emulator) -> None:
        emulator.set_fault("demo-echo", "reset_after_body")
        url = echo_url(emulator)
        host = urlsplit(url)
        connection = http.client.HTTPConnection(host.netloc, timeout=10)
        connection.connect()
        with connection.sock.dup() as same:  # the library closes its own with the answer
            connection.request("POST", host.path, b"x", signed(url))
            assert connection.getresponse().read() == b"x"
            with pytest.raises(ConnectionError):
                same.recv(1)
        connection.close()

    def test_half_closed(self, emulator: Emulator) -> None:
        emulator.set_fault("demo-echo", "half_closed", seconds=30)
        url = echo_url(emulator)
        host = urlsplit(url)
        connection = http.client.HTTPConnection(host.netloc, timeout=10)
        connection.request("POST", host.path, b"x", signed(url))
        assert connection.sock.recv(1) == b""
        connection.sock.sendall(b"it still reads")
        connection.close()

    def test_garbage(self, emulator: Emulator) -> None:
        emulator.set_fault("demo-echo", "garbage")
        url = echo_url(emulator)
        host = urlsplit(url)
        connection = http.client.HTTPConnection(host.netloc, timeout=10)
        connection.request("POST", host.path, b"x", signed(url))
        with pytest.raises(http.client.BadStatusLine):
            connection.getresponse()
        connection.close()

    def test_drop_in_body(self, emulator: Emulator) -> None:
        emulator.set_fault("demo-echo", "drop_in_body")
        url = echo_url(emulator)
        body = b"0123456789"
        host = urlsplit(url)
        connection = http.client.HTTPConnection(host.netloc, timeout=10)
        connection.request("POST", host.path, body, signed(url, body))
        with connection.getresponse() as found:
            assert found.headers["Content-Length"] == "10"
            with pytest.raises(http.client.IncompleteRead) as caught:
                found.read()
        connection.close()
        assert caught.value.partial == b"01234"


def test_connections_can_be_dropped(emulator: Emulator) -> None:
    url = echo_url(emulator)
    with requests.Session() as session:
        assert session.post(url, data=b"x", headers=signed(url), timeout=10).content == b"x"
        assert emulator.drop_connections() >= 1
        assert emulator.drop_connections() == 0


def test_its_clock_can_be_put_ahead(emulator: Emulator) -> None:
    url = echo_url(emulator)
    emulator.ahead = timedelta(minutes=7)
    try:
        refused = requests.post(url, data=b"x", headers=signed(url), timeout=10)
    finally:
        emulator.ahead = timedelta()
    assert refused.headers["x-amzn-errortype"] == "InvalidSignatureException"
    told = parsedate_to_datetime(refused.headers["Date"]) - datetime.now(UTC)
    assert timedelta(minutes=6) < told <= timedelta(minutes=7)


class TestStreamFaults:
    @pytest.fixture
    def read(self, emulator: Emulator, runtime: Any) -> Callable[[], tuple[list[bytes], Any]]:
        """Read the stream of the fault's endpoint as far as it goes."""

        def read() -> tuple[list[bytes], Any]:
            found = runtime.invoke_endpoint_with_response_stream(
                EndpointName="demo-chat", Body=chat_body(stream=True), ContentType=JSON
            )
            parts = []
            try:
                for event in found["Body"]:
                    parts.append(event["PayloadPart"]["Bytes"])
            except (EventStreamError, ChecksumMismatch, ProtocolError) as exc:
                return parts, exc
            finally:
                found["Body"].close()
            return parts, None

        return read

    def test_break(self, emulator: Emulator, read: Any) -> None:
        emulator.set_fault("demo-chat", "stream_break", after=3)
        parts, error = read()
        assert len(parts) == 3
        assert isinstance(error, ProtocolError)
        with pytest.raises(TimeoutError):
            emulator.wait_for_disconnect("demo-chat", timeout=0.1)

    def test_drop_in_body(self, emulator: Emulator, read: Any) -> None:
        emulator.set_fault("demo-chat", "drop_in_body", after=2)
        parts, error = read()
        assert len(parts) == 2
        assert isinstance(error, ProtocolError)

    def test_model_error(self, emulator: Emulator, read: Any) -> None:
        emulator.set_fault("demo-chat", "stream_model_error", after=0, message="Alas.")
        parts, error = read()
        assert not parts
        assert error.response["Error"] == {"Code": "ModelStreamError", "Message": "Alas."}

    def test_model_errors_code(self, emulator: Emulator) -> None:
        emulator.set_fault("demo-echo", "stream_model_error", error_code="StreamBroken")
        url = echo_url(emulator) + "-response-stream"
        found = requests.post(url, data=b"x", headers=signed(url), timeout=10)
        buffer = EventStreamBuffer()
        buffer.add_data(found.content)
        *_, last = list(buffer)
        assert last.headers[":exception-type"] == "ModelStreamError"
        assert json.loads(last.payload)["ErrorCode"] == "StreamBroken"

    def test_internal_failure(self, emulator: Emulator, read: Any) -> None:
        emulator.set_fault("demo-chat", "stream_internal_failure", after=4)
        parts, error = read()
        assert len(parts) == 4
        assert error.response["Error"]["Code"] == "InternalStreamFailure"

    def test_bad_crc(self, emulator: Emulator, read: Any) -> None:
        emulator.set_fault("demo-chat", "stream_bad_crc", after=2)
        parts, error = read()
        assert len(parts) == 2
        assert isinstance(error, ChecksumMismatch)

    def test_end_early(self, emulator: Emulator, read: Any) -> None:
        emulator.set_fault("demo-chat", "stream_end_early", after=2)
        parts, error = read()
        # botocore takes an end in the middle of a frame for the end of the stream.
        assert len(parts) == 2
        assert error is None

    def test_happens_even_after_the_last_event(self, emulator: Emulator, read: Any) -> None:
        emulator.set_fault("demo-chat", "stream_model_error", after=1_000_000)
        parts, error = read()
        assert b"".join(parts).endswith(b"[DONE]\n\n")
        assert error.response["Error"]["Code"] == "ModelStreamError"


class TestCallersThatLeave:
    def test_in_a_stream(self, emulator: Emulator, runtime: Any) -> None:
        cancelled = threading.Event()

        async def invocations(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"first")
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return response

        app = web.Application()
        app.add_routes([web.post("/invocations", invocations)])
        emulator.add_endpoint("endless", app)
        found = runtime.invoke_endpoint_with_response_stream(EndpointName="endless", Body=b"x")
        events = iter(found["Body"])
        assert next(events)["PayloadPart"]["Bytes"]
        left = time.monotonic()
        found["Body"].close()
        assert emulator.wait_for_disconnect("endless", timeout=5) >= left
        assert cancelled.wait(5)
        emulator.remove_endpoint("endless")

    def test_before_the_answer(self, emulator: Emulator) -> None:
        emulator.set_fault("demo-echo", "slow_first_byte", seconds=60)
        url = echo_url(emulator)
        with pytest.raises(requests.ReadTimeout):
            requests.post(url, data=b"x", headers=signed(url), timeout=0.2)
        emulator.wait_for_disconnect("demo-echo", timeout=5)

    def test_nobody_left(self, emulator: Emulator, runtime: Any) -> None:
        runtime.invoke_endpoint(EndpointName="demo-regression", Body=b"")
        with pytest.raises(TimeoutError):
            emulator.wait_for_disconnect("demo-regression", timeout=0.05)


class TestChat:
    def test_answers_the_last_user_message(self, runtime: Any) -> None:
        found = invoke_chat(runtime, chat_body())
        (choice,) = found["choices"]
        assert choice["message"]["role"] == "assistant"
        assert choice["message"]["content"] == answer(QUESTION)
        assert QUESTION in choice["message"]["content"]
        assert choice["finish_reason"] == "stop"
        spoken = len(tokens(answer(QUESTION)))
        assert found["usage"] == {
            "prompt_tokens": 6,
            "completion_tokens": spoken,
            "total_tokens": 6 + spoken,
        }

    def test_parts_and_images(self, runtime: Any) -> None:
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ]
        found = invoke_chat(runtime, chat_body(parts))
        assert found["choices"][0]["message"]["content"] == answer("What is this?")

    def test_max_tokens(self, runtime: Any) -> None:
        found = invoke_chat(runtime, chat_body(max_tokens=3))
        assert found["choices"][0]["message"]["content"] == "".join(tokens(answer(QUESTION))[:3])
        assert found["choices"][0]["finish_reason"] == "length"
        assert found["usage"]["completion_tokens"] == 3

    def test_completion(self, runtime: Any) -> None:
        body = json.dumps({"prompt": ["one", "two"], "model": "demo-chat"}).encode()
        found = invoke_chat(runtime, body)
        assert [choice["text"] for choice in found["choices"]] == [answer("one"), answer("two")]
        streamed = json.dumps({"prompt": "one", "stream": True}).encode()
        chunks = sse(b"".join(stream(runtime, "demo-chat", streamed)).decode())
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == answer("one")

    def test_stream(self, runtime: Any) -> None:
        body = chat_body(stream=True, stream_options={"include_usage": True})
        chunks = sse(b"".join(stream(runtime, "demo-chat", body)).decode())
        usage = chunks.pop()
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == len(tokens(answer(QUESTION)))
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        assert deltas[0] == {"role": "assistant", "content": ""}
        assert "".join(delta["content"] for delta in deltas) == answer(QUESTION)
        reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
        assert reasons == [None] * (len(chunks) - 1) + ["stop"]

    @pytest.mark.parametrize(
        ("body", "content_type", "status", "kind"),
        [
            (chat_body(model="gpt-5"), JSON, 404, "NotFoundError"),
            (chat_body(), "text/plain", 400, "BadRequestError"),
            (b"{", JSON, 400, "BadRequestError"),
            (b"[]", JSON, 400, "BadRequestError"),
            (b"{}", JSON, 400, "BadRequestError"),
            (b'{"messages": []}', JSON, 400, "BadRequestError"),
            (b'{"messages": [{}]}', JSON, 400, "BadRequestError"),
            (chat_body(max_tokens=-1), JSON, 400, "BadRequestError"),
            (chat_body(tools=[{}]), JSON, 400, "BadRequestError"),
            (b'{"prompt": [1]}', JSON, 400, "BadRequestError"),
        ],
    )
    def test_refusals(
        self, runtime: Any, body: bytes, content_type: str, status: int, kind: str
    ) -> None:
        error = refusal(
            lambda: runtime.invoke_endpoint(
                EndpointName="demo-chat", Body=body, ContentType=content_type
            )
        )
        assert error["OriginalStatusCode"] == status
        original = json.loads(error["OriginalMessage"])["error"]
        assert original["type"] == kind
        assert original["code"] == status

    def test_unknown_model_as_vllm_words_it(self, runtime: Any) -> None:
        error = refusal(lambda: invoke_chat(runtime, chat_body(model="x")))
        assert json.loads(error["OriginalMessage"]) == {
            "error": {
                "message": "The model `x` does not exist.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404,
            }
        }
        assert invoke_chat(runtime, chat_body(model=""))["model"] == "demo-chat"


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1, "maximum": 5},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "where": {"$ref": "#/$defs/where"},
            },
            "$defs": {
                "where": {
                    "anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "number"}}]
                }
            },
        },
    },
}
ASK_WEATHER = "Use get_weather with fahrenheit, 7 days, in Malmö"
WEATHER_ARGUMENTS = {"city": "Malmö", "days": 5, "unit": "fahrenheit", "where": [7]}


class TestTools:
    def test_call_and_answer(self, runtime: Any) -> None:
        found = invoke_chat(runtime, chat_body(ASK_WEATHER, tools=[WEATHER]))
        (choice,) = found["choices"]
        (call,) = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        assert call["function"]["name"] == "get_weather"
        assert json.loads(call["function"]["arguments"]) == WEATHER_ARGUMENTS
        messages = [
            {"role": "user", "content": ASK_WEATHER},
            choice["message"],
            {"role": "tool", "tool_call_id": call["id"], "content": "12 °C"},
        ]
        body = json.dumps({"messages": messages, "tools": [WEATHER]}).encode()
        final = invoke_chat(runtime, body)["choices"][0]
        assert "12 °C" in final["message"]["content"]
        assert final["finish_reason"] == "stop"

    @pytest.mark.parametrize(
        ("choice", "calls"),
        [
            ("auto", False),
            ("none", False),
            ("required", True),
            ({"type": "function", "function": {"name": "get_weather"}}, True),
        ],
    )
    def test_choice(self, runtime: Any, choice: Any, calls: bool) -> None:
        found = invoke_chat(runtime, chat_body("Hi!", tools=[WEATHER], tool_choice=choice))
        assert bool(found["choices"][0]["message"]["tool_calls"]) == calls

    def test_stream(self, runtime: Any) -> None:
        body = chat_body(ASK_WEATHER, tools=[WEATHER], stream=True)
        chunks = sse(b"".join(stream(runtime, "demo-chat", body)).decode())
        calls = [
            call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])
        ]
        assert calls[0]["function"] == {"name": "get_weather", "arguments": ""}
        assert calls[0]["id"]
        assert len(calls) > 3
        arguments = "".join(call["function"]["arguments"] for call in calls)
        assert json.loads(arguments) == WEATHER_ARGUMENTS
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


class TestRegression:
    def test_numbers(self, runtime: Any) -> None:
        found = runtime.invoke_endpoint(
            EndpointName="demo-regression", Body=b"80,3,10,20\n25,1,0,5\n", ContentType="text/csv"
        )
        first = 180 + 11.5 * 80 + 42 * 3 - 1.25 * 10 - 6.5 * 20
        second = 180 + 11.5 * 25 + 42 * 1 - 1.25 * 0 - 6.5 * 5
        assert (first, second) == (1083.5, 477.0)
        assert found["Body"].read() == b"1083.5\n477.0\n"
        assert found["ContentType"].startswith("text/csv")

    def test_empty(self, runtime: Any) -> None:
        found = runtime.invoke_endpoint(
            EndpointName="demo-regression", Body=b"", ContentType="text/csv"
        )
        assert found["ResponseMetadata"]["HTTPStatusCode"] == 204
        assert found["Body"].read() == b""

    @pytest.mark.parametrize(
        ("body", "content_type", "words"),
        [
            (b"{}", JSON, "send text/csv"),
            (b"1,2\n", "text/csv", "row 1 has 2 columns, expected square_metres"),
            (b"1,2,3,4\n1,2,x,4\n", "text/csv", "row 2 has a value that is no number"),
            (b"\xff\xfe,1,2,3", "text/csv", "Loading csv data failed"),
        ],
    )
    def test_refusals(self, runtime: Any, body: bytes, content_type: str, words: str) -> None:
        error = refusal(
            lambda: runtime.invoke_endpoint(
                EndpointName="demo-regression", Body=body, ContentType=content_type
            )
        )
        assert error["OriginalStatusCode"] == 415
        assert words in error["OriginalMessage"]


class TestOpenAIServer:
    @pytest.fixture
    def seen(self, emulator: Emulator) -> Iterator[list[tuple[str, Any]]]:
        """Serve something that speaks OpenAI's API, by way of a second emulated container."""
        seen: list[tuple[str, Any]] = []

        async def models(request: web.Request) -> web.Response:
            return web.json_response({"data": [{"id": "tiny"}]})

        async def answer_any(request: web.Request) -> web.StreamResponse:
            seen.append((request.path, await request.json()))
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for word in ("data: ü\n\n", "data: [DONE]\n\n"):
                await response.write(word.encode())
            return response

        app = web.Application()
        app.add_routes([web.get("/v1/models", models), web.post("/v1/{rest:.+}", answer_any)])
        emulator.add_endpoint("upstream", app)
        emulator.add_openai_server("bare", emulator.container_url("upstream"))
        emulator.add_openai_server("slashed", emulator.container_url("upstream") + "/v1/")
        yield seen
        for name in ("bare", "slashed", "upstream"):
            emulator.remove_endpoint(name)

    @pytest.mark.parametrize("endpoint", ["bare", "slashed"])
    def test_routes_by_shape(
        self, runtime: Any, seen: list[tuple[str, Any]], endpoint: str
    ) -> None:
        for body in ({"messages": [], "model": "other"}, {"prompt": "x"}, {"input": "x"}):
            parts = stream(runtime, endpoint, json.dumps(body).encode())
            assert b"".join(parts).decode() == "data: ü\n\ndata: [DONE]\n\n"
        paths = [path for path, _ in seen]
        assert paths == ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
        assert {body["model"] for _, body in seen} == {"tiny"}

    def test_shapeless(self, runtime: Any, seen: list[tuple[str, Any]]) -> None:
        error = refusal(lambda: runtime.invoke_endpoint(EndpointName="bare", Body=b"{}"))
        assert error["OriginalStatusCode"] == 400

    def test_nobody_there(self, emulator: Emulator, runtime: Any) -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
            emulator.add_openai_server("gone", url)
            ping = requests.get(emulator.container_url("gone") + "/ping", timeout=10)
            error = refusal(
                lambda: runtime.invoke_endpoint(EndpointName="gone", Body=b'{"prompt": "x"}')
            )
        emulator.remove_endpoint("gone")
        assert ping.status_code == 503
        assert error["OriginalStatusCode"] == 503
        assert "No answer from" in json.loads(error["OriginalMessage"])["error"]["message"]


class TestContainerThatHangs:
    @pytest.fixture
    async def url(self) -> AsyncIterator[str]:
        async def invocations(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if await request.read() == b"begin":
                await response.prepare(request)
                await response.write(b"begun")
            await asyncio.Event().wait()
            return response

        app = web.Application()
        app.add_routes([web.post("/invocations", invocations)])
        runner, url = await loopback.serve(app)
        yield url
        await runner.cleanup()

    @pytest.fixture
    async def client(self) -> AsyncIterator[ContainerClient]:
        client = ContainerClient("us-east-1", timeout=0.1)
        await client.open()
        yield client
        await client.close()

    async def test_before_its_answer(self, url: str, client: ContainerClient) -> None:
        with pytest.raises(AwsError) as caught:
            await client.invoke("slow", url, {}, b"x")
        assert caught.value.kind == "ModelError"
        assert "Your invocation timed out while waiting" in caught.value.message
        with pytest.raises(AwsError, match="ModelError"):
            async with client.stream("slow", url, {}, b"x"):
                pass

    async def test_in_a_stream(self, url: str, client: ContainerClient) -> None:
        async with client.stream("slow", url, {}, b"begin") as response:
            assert await next_chunk(response) == b"begun"
            with pytest.raises(StreamFailed) as caught:
                await next_chunk(response)
        assert b"ModelInvocationTimeExceeded" in caught.value.frame


class TestEventStreamEncoder:
    @given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
    def test_botocore_decodes_it(self, payloads: list[bytes], step: int) -> None:
        wire = BytesIO(b"".join(eventstream.payload_part(payload) for payload in payloads))
        buffer = EventStreamBuffer()
        found = []
        while piece := wire.read(step):
            buffer.add_data(piece)
            found += list(buffer)
        assert [event.payload for event in found] == payloads
        for event in found:
            assert event.headers == {
                ":event-type": "PayloadPart",
                ":content-type": "application/octet-stream",
                ":message-type": "event",
            }

    @given(st.text(), st.sampled_from(["ModelInvocationTimeExceeded", "StreamBroken"]))
    def test_exceptions(self, message: str, code: str) -> None:
        buffer = EventStreamBuffer()
        buffer.add_data(eventstream.model_stream_error(message, code))
        buffer.add_data(eventstream.internal_stream_failure(message))
        model, internal = list(buffer)
        assert model.headers[":message-type"] == internal.headers[":message-type"] == "exception"
        assert model.headers[":exception-type"] == "ModelStreamError"
        assert internal.headers[":exception-type"] == "InternalStreamFailure"
        assert json.loads(model.payload) == {"Message": message, "ErrorCode": code}
        assert json.loads(internal.payload) == {"Message": message}

    def test_corruption_is_noticed(self) -> None:
        buffer = EventStreamBuffer()
        buffer.add_data(eventstream.corrupted(eventstream.payload_part(b"x")))
        with pytest.raises(ChecksumMismatch):
            list(buffer)


class TestCommandLine:
    def test_help(self) -> None:
        command = [sys.executable, "-m", "tests.emulator", "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        assert "--openai NAME=URL" in shown.stdout

    def test_runs_until_interrupted(self) -> None:
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.emulator"]
        command += ["--endpoint", "other=http://127.0.0.1:9"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            exports = {}
            for line in process.stdout:
                if not line.startswith("export "):
                    break
                name, _, value = line.removeprefix("export ").strip().partition("=")
                exports[name] = value
            client = boto3.client(
                "sagemaker",
                region_name=exports["AWS_REGION"],
                endpoint_url=exports["AWS_ENDPOINT_URL_SAGEMAKER"],
                aws_access_key_id=exports["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=exports["AWS_SECRET_ACCESS_KEY"],
            )
            names = {item["EndpointName"] for item in client.list_endpoints()["Endpoints"]}
            client.close()
            process.send_signal(signal.SIGINT)
            assert process.stderr.read() == ""
            assert process.wait(10) == 0
        assert names == {"demo-chat", "demo-echo", "demo-regression", "other"}


def test_an_instance_learns_its_region_from_the_metadata_service() -> None:
    with MetadataService(lifetime=timedelta(hours=1)) as metadata:
        fetcher = InstanceMetadataRegionFetcher(base_url=metadata.url)
        assert fetcher.retrieve_region() == "us-east-1"
