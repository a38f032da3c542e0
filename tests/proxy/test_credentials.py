"""Region, address and credentials are found as any AWS client finds them, off the loop."""

import asyncio
import gc
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy import certificates, credentials
from proxy.credentials import Aws, AwsConfigurationError, CredentialsProvider
from proxy.signing import Credentials
from tests.emulator.metadata import MetadataService


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No AWS settings but those of the test."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(credentials, "_CHECK_SECONDS", 0.02)
    monkeypatch.setattr(credentials, "_RELOAD_PAUSE_SECONDS", 0.02)
    return monkeypatch


@asynccontextmanager
async def running(aws: Aws) -> AsyncIterator[CredentialsProvider]:
    provider = CredentialsProvider(aws)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition to become true."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


class TestAddress:
    @pytest.mark.parametrize(
        ("region", "variables", "url"),
        [
            ("us-east-1", {}, "https://runtime.sagemaker.us-east-1.amazonaws.com"),
            ("cn-north-1", {}, "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn"),
            (
                "us-east-1",
                {"AWS_USE_FIPS_ENDPOINT": "true"},
                "https://runtime-fips.sagemaker.us-east-1.amazonaws.com",
            ),
            (
                "eu-west-1",
                {"AWS_USE_DUALSTACK_ENDPOINT": "true"},
                "https://runtime.sagemaker.eu-west-1.api.aws",
            ),
            (
                "us-east-1",
                {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": "http://127.0.0.1:5000/prefix/"},
                "http://127.0.0.1:5000/prefix",
            ),
        ],
    )
    def test_botocore_resolves_it(
        self,
        environ: pytest.MonkeyPatch,
        region: str,
        variables: dict[str, str],
        url: str,
    ) -> None:
        for name, value in variables.items():
            environ.setenv(name, value)
        aws = Aws(region)
        assert (aws.runtime_url, aws.region, aws.signing_name) == (url, region, "sagemaker")

    @pytest.mark.parametrize("name", ["AWS_DEFAULT_REGION", "AWS_REGION"])
    def test_the_region_may_come_from_the_aws_settings(
        self, environ: pytest.MonkeyPatch, name: str
    ) -> None:
        environ.setenv(name, "ap-south-1")
        assert Aws().region == "ap-south-1"

    def test_a_bundle_of_certificates_that_cannot_be_used_is_told(
        self, environ: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        pair = certificates.create(tmp_path, ["localhost"])
        environ.setenv("AWS_CA_BUNDLE", str(pair.certificate))
        assert Aws("us-east-1").ssl_context.cert_store_stats()["x509"] == 1
        environ.setenv("AWS_CA_BUNDLE", str(tmp_path / "absent.pem"))
        with pytest.raises(AwsConfigurationError, match="AWS_CA_BUNDLE"):
            Aws("us-east-1")

    @pytest.mark.parametrize(
        ("region", "message"), [("", "no AWS region"), ("no region", "no region")]
    )
    def test_without_a_region_it_says_what_to_set(self, region: str, message: str) -> None:
        with pytest.raises(AwsConfigurationError, match=message):
            Aws(region)

    def test_an_address_that_is_none_is_refused(self, environ: pytest.MonkeyPatch) -> None:
        environ.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "127.0.0.1:5000")
        with pytest.raises(AwsConfigurationError, match=r"127\.0\.0\.1:5000"):
            Aws("us-east-1")


def test_a_look_from_scratch_leaves_little_to_collect(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("AWS_ACCESS_KEY_ID", "AKID")
    environ.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    aws = Aws("us-east-1")
    aws.control_plane()
    looks = 3
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(looks):
            aws.reload()
            aws.control_plane()
        left = len(gc.get_objects()) - before
    finally:
        gc.enable()
    # A description of SageMaker alone is forty thousand objects, and a worker collects seldom.
    assert left / looks < 15_000


async def test_they_come_from_the_environment(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("AWS_ACCESS_KEY_ID", "AKID")
    environ.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    environ.setenv("AWS_SESSION_TOKEN", "token")
    async with running(Aws("us-east-1")) as provider:
        assert provider.problem is None
        assert provider.current == Credentials("AKID", "secret", "token")
        assert provider.expires is None


async def test_they_come_from_a_profile_and_follow_its_file_after_a_refusal(
    environ: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    environ.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    environ.setenv("AWS_PROFILE", "gateway")

    def write(secret: str) -> None:
        file.write_text(f"[gateway]\naws_access_key_id=AK\naws_secret_access_key={secret}\n")

    write("old")
    aws = Aws("us-east-1")
    async with running(aws) as provider:
        assert provider.current == Credentials("AK", "old")
        clients = aws.control_plane(), aws.storage()
        assert clients == (aws.control_plane(), aws.storage())
        write("new")
        assert await provider.replace(Credentials("AK", "old"))
        assert provider.current == Credentials("AK", "new")
        for client, other in zip(clients, (aws.control_plane(), aws.storage()), strict=True):
            assert client is not other, "it would go on with the old ones"
            assert other.meta.service_model.service_name == client.meta.service_model.service_name


async def test_without_any_there_is_a_reason_until_there_are_some(
    environ: pytest.MonkeyPatch,
) -> None:
    async with running(Aws("us-east-1")) as provider:
        assert provider.current is None
        assert provider.problem == "no AWS credentials found"
        environ.setenv("AWS_ACCESS_KEY_ID", "AKID")
        environ.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        await until(lambda: provider.current is not None)
        assert provider.problem is None


@pytest.fixture
def metadata(environ: pytest.MonkeyPatch) -> Iterator[MetadataService]:
    environ.delenv("AWS_EC2_METADATA_DISABLED")
    with MetadataService(lifetime=timedelta(hours=6)) as metadata:
        environ.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url)
        yield metadata


async def test_they_come_from_the_instances_role_through_imdsv2(metadata: MetadataService) -> None:
    async with running(Aws("us-east-1")) as provider:
        assert provider.current == Credentials(*metadata.issued[-1])


async def test_all_who_are_refused_share_one_look_for_others(metadata: MetadataService) -> None:
    async with running(Aws("us-east-1")) as provider:
        refused = provider.current
        assert refused is not None
        asked = len(metadata.issued)
        results = await asyncio.gather(*(provider.replace(refused) for _ in range(50)))
        assert results == [True] * 50
        assert len(metadata.issued) == asked + 1
        assert provider.current == Credentials(*metadata.issued[-1])
        assert await provider.replace(refused), "they have been replaced already"
        assert len(metadata.issued) == asked + 1


async def test_a_refusal_right_after_a_look_that_found_nothing_new_is_told_at_once(
    environ: pytest.MonkeyPatch,
) -> None:
    environ.setattr(credentials, "_RELOAD_PAUSE_SECONDS", 60)
    environ.setenv("AWS_ACCESS_KEY_ID", "AK")
    environ.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with running(Aws("us-east-1")) as provider:
        refused = provider.current
        assert refused is not None
        assert not await provider.replace(refused)
        environ.setenv("AWS_SECRET_ACCESS_KEY", "new")
        async with asyncio.timeout(0.05):
            assert not await provider.replace(refused)


async def test_while_others_are_looked_for_the_old_ones_stay_in_use(
    environ: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Source(tmp_path, environ)
    source.issue("old", timedelta(hours=1))
    aws = Aws("us-east-1")
    async with running(aws) as provider:
        old = provider.current
        assert old == Credentials("AK", "old", "token")
        began, go_on = threading.Event(), threading.Event()
        find = aws.credentials

        def find_slowly() -> object:
            began.set()
            assert go_on.wait(10)
            return find()

        environ.setattr(aws, "credentials", find_slowly)
        looking = asyncio.create_task(provider.replace(old))
        await asyncio.to_thread(began.wait, 10)
        assert provider.current == old
        source.issue("new", timedelta(hours=1))
        go_on.set()
        assert await looking


class Source:
    """A program that hands out credentials, as a profile may name one."""

    def __init__(self, directory: Path, environ: pytest.MonkeyPatch) -> None:
        self._answer = directory / "answer.json"
        config = directory / "config"
        config.write_text(f"[default]\ncredential_process = cat {self._answer}\n")
        environ.setenv("AWS_CONFIG_FILE", str(config))

    def issue(self, secret: str, lifetime: timedelta) -> None:
        answer = {
            "Version": 1,
            "AccessKeyId": "AK",
            "SecretAccessKey": secret,
            "SessionToken": "token",
            "Expiration": (datetime.now(UTC) + lifetime).isoformat(),
        }
        temporary = self._answer.with_suffix(".new")
        temporary.write_text(json.dumps(answer))
        temporary.replace(self._answer)

    def go_away(self) -> None:
        self._answer.unlink()


class TestExpiry:
    @pytest.fixture
    def source(self, environ: pytest.MonkeyPatch, tmp_path: Path) -> Source:
        return Source(tmp_path, environ)

    async def test_they_are_renewed_ahead_of_their_end(self, source: Source) -> None:
        source.issue("first", timedelta(minutes=14))  # botocore renews 15 minutes ahead
        async with running(Aws("us-east-1")) as provider:
            assert provider.current == Credentials("AK", "first", "token")
            source.issue("second", timedelta(hours=1))
            await until(lambda: provider.current == Credentials("AK", "second", "token"))

    async def test_their_end_is_told(self, source: Source) -> None:
        source.issue("first", timedelta(hours=1))
        async with running(Aws("us-east-1")) as provider:
            assert provider.expires is not None
            assert 3500 < provider.expires - time.time() <= 3600

    async def test_while_the_source_is_away_valid_ones_stay_in_use(self, source: Source) -> None:
        source.issue("first", timedelta(minutes=5))  # so near the end, botocore insists
        async with running(Aws("us-east-1")) as provider:
            source.go_away()
            await until(lambda: provider._problem is not None)
            assert provider.current == Credentials("AK", "first", "token")
            assert provider.problem is None
            source.issue("second", timedelta(hours=1))
            await until(lambda: provider.current == Credentials("AK", "second", "token"))

    async def test_after_their_end_they_are_not_used(self, source: Source) -> None:
        source.issue("first", timedelta(seconds=1.5))
        async with running(Aws("us-east-1")) as provider:
            assert provider.current is not None
            source.go_away()
            await until(lambda: provider.current is None)
            assert provider.problem is not None
            source.issue("second", timedelta(hours=1))
            await until(lambda: provider.current == Credentials("AK", "second", "token"))
            assert provider.problem is None


async def test_looking_for_credentials_never_blocks_the_loop(
    environ: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\ncredential_process = sh -c 'sleep 0.5; exit 1'\n")
    environ.setenv("AWS_CONFIG_FILE", str(config))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    task = asyncio.create_task(tick())
    provider = CredentialsProvider(await asyncio.to_thread(Aws, "us-east-1"))
    began = time.monotonic()
    ticks = 0
    await provider.start()
    took = time.monotonic() - began
    await provider.stop()
    task.cancel()
    assert took > 0.4
    assert ticks > 10
    assert provider.problem is not None
    assert "sleep" not in provider.problem
