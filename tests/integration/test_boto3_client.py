"""boto3 itself, pointed at the proxy, runs SageMaker's three runtime operations unchanged."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from tests.emulator.control_plane import OPERATOR
from tests.emulator.emulator import ACCESS_KEY, Emulator
from tests.integration.running import RunningProxy

EVERY_BYTE = bytes(range(256)) * 500


def connect(proxy: RunningProxy, key: str) -> Any:
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=proxy.url,
        region_name="us-east-1",
        # boto3 signs what it sends, with whatever it has; the proxy looks at the key alone.
        aws_access_key_id="anything",
        aws_secret_access_key="anything",
        verify=str(proxy.certificate),
        config=Config(retries={"total_max_attempts": 1}),
    )

    def add_key(request: AWSRequest, **_: Any) -> None:
        request.headers["X-API-Key"] = key

    client.meta.events.register("before-send.sagemaker-runtime", add_key)
    return client


@pytest.fixture(scope="module")
def runtime(proxy: RunningProxy) -> Iterator[Any]:
    client = connect(proxy, proxy.key)
    yield client
    client.close()


@pytest.fixture(scope="module")
def s3(emulator: Emulator) -> Iterator[Any]:
    client = boto3.client(
        "s3",
        endpoint_url=emulator.s3_url,
        region_name="us-east-1",
        aws_access_key_id=OPERATOR,
        aws_secret_access_key=OPERATOR,
    )
    client.create_bucket(Bucket="bucket")
    yield client
    client.close()


def test_invoke_endpoint_carries_bytes_and_headers_both_ways(
    runtime: Any, emulator: Emulator
) -> None:
    answer = runtime.invoke_endpoint(
        EndpointName="demo-echo",
        Body=EVERY_BYTE,
        ContentType="image/png",
        Accept="image/png",
        CustomAttributes="trace=42",
        TargetModel="model-7.tar.gz",
        TargetVariant="blue",
        TargetContainerHostname="second",
        InferenceId="inference-1",
        EnableExplanations="`true`",
        SessionId="session-1",
    )
    assert answer["Body"].read() == EVERY_BYTE
    assert answer["ContentType"] == "image/png"
    assert answer["CustomAttributes"] == "trace=42"
    assert answer["InvokedProductionVariant"]
    assert answer["ResponseMetadata"]["RequestId"]

    sent = emulator.calls("demo-echo")[-1].headers
    assert {name: sent[f"X-Amzn-SageMaker-{name}"] for name in SENT} == SENT
    assert sent["Accept"] == "image/png"


SENT = {
    "Custom-Attributes": "trace=42",
    "Target-Model": "model-7.tar.gz",
    "Target-Variant": "blue",
    "Target-Container-Hostname": "second",
    "Inference-Id": "inference-1",
    "Enable-Explanations": "`true`",
    "Session-Id": "session-1",
}


def test_neither_the_key_nor_the_clients_signature_goes_on_to_aws(
    runtime: Any, emulator: Emulator, proxy: RunningProxy
) -> None:
    runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")
    sent = emulator.calls("demo-echo")[-1].headers
    assert proxy.key not in repr(dict(sent))
    assert f"Credential={ACCESS_KEY}/" in sent["Authorization"]


def test_csv_is_answered_with_csv(runtime: Any) -> None:
    answer = runtime.invoke_endpoint(
        EndpointName="demo-regression", Body=b"80,3,10,20\n", ContentType="text/csv"
    )
    assert answer["Body"].read().strip() == b"1083.5"
    assert answer["ContentType"].startswith("text/csv")


def test_an_empty_body_is_an_empty_body(runtime: Any) -> None:
    answer = runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"")
    assert answer["Body"].read() == b""


def test_a_large_body_comes_back_whole(runtime: Any) -> None:
    body = EVERY_BYTE * 40  # 5 MB
    answer = runtime.invoke_endpoint(
        EndpointName="demo-echo", Body=body, ContentType="application/x-protobuf"
    )
    assert answer["Body"].read() == body


def test_a_response_stream_gives_the_containers_bytes(runtime: Any) -> None:
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName="demo-echo", Body=EVERY_BYTE, ContentType="application/jsonlines"
    )
    assert answer["ContentType"] == "application/jsonlines"
    with contextlib.closing(answer["Body"]) as events:
        assert b"".join(event["PayloadPart"]["Bytes"] for event in events) == EVERY_BYTE


def test_a_stream_that_reports_an_error_raises_it(runtime: Any, emulator: Emulator) -> None:
    emulator.set_fault("slow-chat", "stream_model_error", after=3, message="out of memory")
    body = b'{"messages": [{"role": "user", "content": "x"}], "stream": true}'
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName="slow-chat", Body=body, ContentType="application/json"
    )
    with (
        contextlib.closing(answer["Body"]) as events,
        pytest.raises(EventStreamError, match="ModelStreamError"),
    ):
        list(events)


def test_a_stream_that_breaks_ends_with_an_exception(runtime: Any, emulator: Emulator) -> None:
    emulator.set_fault("slow-chat", "stream_break", after=10)
    body = b'{"messages": [{"role": "user", "content": "x"}], "stream": true}'
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName="slow-chat", Body=body, ContentType="application/json"
    )
    with (
        contextlib.closing(answer["Body"]) as events,
        pytest.raises(EventStreamError, match="InternalStreamFailure"),
    ):
        list(events)


def test_invoke_endpoint_async_says_where_the_output_will_be(runtime: Any, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="input", Body=b"80,3,10,20\n")
    answer = runtime.invoke_endpoint_async(
        EndpointName="demo-regression", InputLocation="s3://bucket/input", ContentType="text/csv"
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"]
    bucket, _, key = answer["OutputLocation"].removeprefix("s3://").partition("/")
    s3.get_waiter("object_exists").wait(
        Bucket=bucket, Key=key, WaiterConfig={"Delay": 1, "MaxAttempts": 20}
    )
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read().strip() == b"1083.5"


def test_a_model_error_has_its_members(runtime: Any, emulator: Emulator) -> None:
    emulator.set_fault(
        "demo-echo", "model_error", original_status=418, original_message="I am a teapot"
    )
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert answer["OriginalStatusCode"] == 418
    assert answer["OriginalMessage"] == "I am a teapot"
    assert answer["LogStreamArn"].startswith("arn:aws:logs:")


@pytest.mark.parametrize(
    ("fault", "exception", "status"),
    [
        ("internal_failure", "InternalFailure", 500),
        ("internal_dependency", "InternalDependencyException", 530),
        ("service_unavailable", "ServiceUnavailable", 503),
        ("not_ready", "ModelNotReadyException", 429),
    ],
)
def test_sagemakers_error_classes_arrive_as_they_are(
    runtime: Any, emulator: Emulator, fault: str, exception: str, status: int
) -> None:
    emulator.set_fault("demo-echo", fault, times=None)
    with pytest.raises(getattr(runtime.exceptions, exception)) as caught:
        runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


@pytest.mark.parametrize("endpoint", ["no-such-endpoint", "not a name", "-x"])
def test_an_unknown_endpoint_is_a_validation_error(runtime: Any, endpoint: str) -> None:
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(EndpointName=endpoint, Body=b"x")
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_throttling_keeps_its_code(runtime: Any, emulator: Emulator) -> None:
    emulator.set_fault("demo-echo", "throttled", times=None)
    with pytest.raises(ClientError) as caught:
        runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"


def test_the_proxys_own_permissions_are_not_the_clients_matter(
    runtime: Any, emulator: Emulator
) -> None:
    emulator.set_fault("demo-echo", "access_denied")
    with pytest.raises(runtime.exceptions.InternalFailure) as caught:
        runtime.invoke_endpoint(EndpointName="demo-echo", Body=b"x")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 502
    assert "arn:" not in str(caught.value)


def test_a_wrong_key_is_an_unrecognized_client(proxy: RunningProxy) -> None:
    client = connect(proxy, "wrong")
    with pytest.raises(ClientError) as caught:
        client.invoke_endpoint(EndpointName="demo-echo", Body=b"x")
    client.close()
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 401


def test_a_stream_arrives_while_it_is_made(runtime: Any, emulator: Emulator) -> None:
    body = b'{"messages": [{"role": "user", "content": "x"}], "stream": true}'
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName="slow-chat", Body=body, ContentType="application/json"
    )
    with contextlib.closing(answer["Body"]) as events:
        arrivals = [time.monotonic() for _ in events]
    # 20 ms a token at the container: the first is here long before the last is made.
    assert arrivals[-1] - arrivals[0] > 0.3
