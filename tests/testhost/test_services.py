"""What runs beside a host: the embedded SageMaker with its metadata service, and Pebble."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography import x509

from tests.testhost.host import Host
from tests.testhost.image import Image
from tests.testhost.pebble import Pebble
from tests.testhost.sagemaker import SageMaker

# Calls an endpoint with the credentials that it gets in the beginning, until that fails.
CALLS = """
import os, boto3
from botocore.exceptions import ClientError
from botocore.utils import InstanceMetadataRegionFetcher

metadata = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
region = InstanceMetadataRegionFetcher(base_url=metadata).retrieve_region()
keys = boto3.Session().get_credentials().get_frozen_credentials()
client = boto3.client("sagemaker-runtime", region_name=region, aws_access_key_id=keys.access_key,
    aws_secret_access_key=keys.secret_key, aws_session_token=keys.token)
print(keys.access_key)
try:
    while True:
        client.invoke_endpoint(EndpointName="demo-echo", Body=b"hello")
        print("answered")
except ClientError as error:
    print(error.response["Error"]["Code"])
"""


@pytest.fixture(scope="module")
def host(image: Image) -> Iterator[Host]:
    with Host("served", image) as host:
        yield host


def call_until_refused(host: Host, sagemaker: SageMaker) -> list[str]:
    process = host.inside(
        [sys.executable, "-c", CALLS],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **sagemaker.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=30)
    return list(output.split())


def test_sagemaker_refuses_credentials_whose_time_is_over(host: Host) -> None:
    with SageMaker(host, credentials_lifetime=timedelta(seconds=2)) as sagemaker:
        access_key, *answers, last = call_until_refused(host, sagemaker)
        assert set(answers) == {"answered"}
        assert last == "ExpiredTokenException"
        assert sagemaker.calls("demo-echo") == len(answers)
        assert sagemaker.calls("demo-chat") == 0
        assert sagemaker.access_keys() == [access_key]


def test_sagemaker_fails_as_it_is_told(host: Host) -> None:
    with SageMaker(host, credentials_lifetime=timedelta(hours=1)) as sagemaker:
        sagemaker.set_fault("demo-echo", "access_denied", times=2)
        sagemaker.clear_faults()
        sagemaker.set_fault("demo-echo", "access_denied")
        assert call_until_refused(host, sagemaker)[1:] == ["AccessDeniedException"]
        assert sagemaker.calls("demo-echo") == 1


def test_pebble_answers_on_the_hosts_loopback(host: Host) -> None:
    with Pebble(host, validity=timedelta(minutes=5)) as pebble:
        trusted = f"curl -sS --fail --cacert /dev/stdin {pebble.directory_url}"
        assert "newOrder" in host.run(trusted, stdin=pebble.ca.read_text()).stdout
        root = x509.load_pem_x509_certificate(pebble.root().encode())
        assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
