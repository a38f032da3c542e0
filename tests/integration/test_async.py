"""Asynchronous calls: the answer's Location leads to the output, for the same key alone."""

import asyncio
import contextlib
import json
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from aiohttp import web
from botocore.config import Config
from requests.adapters import HTTPAdapter

from proxy.keys import hash_key
from tests.emulator.asynchronous import OUTPUT_BUCKET
from tests.emulator.emulator import Emulator
from tests.emulator.metadata import MetadataService
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy

ALICE, BOB, CAROL = (str(uuid.uuid4()) for _ in range(3))
KEYS = f"""
[keys.alice]
sha256 = "{hash_key(ALICE)}"
[keys.bob]
sha256 = "{hash_key(BOB)}"
[keys.carol]
sha256 = "{hash_key(CAROL)}"
models = ["parts/one"]
"""
INPUTS = f"s3://{OUTPUT_BUCKET}/inputs/"
SETTINGS = f"""{QUICK}
[async_inference]
input_location = "{INPUTS}"
"""
ACCEPTED = {"Status": "InProgress"}


class Held:
    """A container that answers when it is told to."""

    def __init__(self) -> None:
        self._go_on = threading.Event()

    async def invocations(self, request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.to_thread(self._go_on.wait, 60)
        return web.Response(body=body, content_type="application/x-done")

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/invocations", self.invocations)
        return application

    def release(self) -> None:
        self._go_on.set()


@pytest.fixture
def held(emulator: Emulator) -> Iterator[tuple[str, Held]]:
    """An endpoint of that kind, and its container."""
    name, held = f"held-{uuid.uuid4().hex[:8]}", Held()
    emulator.add_endpoint(name, held.application())
    yield name, held
    held.release()


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("async")
    (directory / "keys.toml").write_text(KEYS)
    with RunningProxy(directory, emulator.environment(), SETTINGS) as proxy:
        yield proxy


@pytest.fixture
def alice(proxy: RunningProxy) -> Iterator[requests.Session]:
    with proxy.session() as session:
        session.headers["Authorization"] = f"Bearer {ALICE}"
        yield session


@pytest.fixture
def bob(proxy: RunningProxy) -> Iterator[requests.Session]:
    with proxy.session() as session:
        session.headers["Authorization"] = f"Bearer {BOB}"
        yield session


def submit(
    session: requests.Session,
    proxy: RunningProxy,
    endpoint: str = "demo-echo",
    body: bytes = b"x",
    **headers: str,
) -> requests.Response:
    """An asynchronous call that is accepted."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{proxy.url}/endpoints/{endpoint}/async-invocations"
    answer = session.post(url, data=body, headers=sent)
    assert answer.status_code == 202, answer.text
    return answer


def fetch(session: requests.Session, url: str, seconds: float = 20.0) -> requests.Response:
    """The result, once there is one."""
    deadline = time.monotonic() + seconds
    while (answer := session.get(url)).status_code == 202:
        assert time.monotonic() < deadline, "there is no result"
    return answer


def result_url(proxy: RunningProxy, answer: requests.Response) -> str:
    return f"{proxy.url}{answer.headers['Location']}"


class TestFlow:
    def test_the_location_leads_to_the_output_when_it_is_there(
        self, proxy: RunningProxy, alice: requests.Session, held: tuple[str, Held]
    ) -> None:
        endpoint, container = held
        answer = submit(alice, proxy, endpoint, b"the output")
        assert answer.headers["Location"].startswith(f"/endpoints/{endpoint}/async-invocations/")
        url = result_url(proxy, answer)
        for _ in range(2):
            running = alice.get(url)
            assert (running.status_code, running.json()) == (202, ACCEPTED)
            assert running.headers["Retry-After"] == "2"
        container.release()
        done = fetch(alice, url)
        assert (done.status_code, done.content) == (200, b"the output")
        assert done.headers["Content-Type"] == "application/x-done"
        assert done.headers["Content-Length"] == "10"
        assert alice.get(url).content == b"the output", "as often as one likes"

    def test_a_client_of_aws_gets_what_it_always_got_and_the_location_beside(
        self, proxy: RunningProxy, alice: requests.Session
    ) -> None:
        client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=proxy.url,
            region_name="us-east-1",
            aws_access_key_id="anything",
            aws_secret_access_key="anything",
            verify=str(proxy.certificate),
            config=Config(retries={"total_max_attempts": 1}),
        )

        def add_key(request: Any, **_: Any) -> None:
            request.headers["X-API-Key"] = ALICE

        client.meta.events.register("before-send.sagemaker-runtime", add_key)
        with contextlib.closing(client):
            answer = client.invoke_endpoint_async(
                EndpointName="demo-regression", Body=b"80,3,10,20\n", ContentType="text/csv"
            )
        assert answer["OutputLocation"].startswith(f"s3://{OUTPUT_BUCKET}/")
        location = answer["ResponseMetadata"]["HTTPHeaders"]["location"]
        assert fetch(alice, proxy.url + location).content == b"1083.5\n"

    def test_a_failure_is_a_model_error_with_what_sagemaker_wrote(
        self, proxy: RunningProxy, alice: requests.Session
    ) -> None:
        answer = submit(alice, proxy, "demo-chat", b"no JSON")
        failed = fetch(alice, result_url(proxy, answer))
        assert failed.status_code == 424
        assert failed.headers["x-amzn-errortype"] == "ModelError"
        assert "Received client error (400)" in failed.json()["OriginalMessage"]
        assert failed.json()["Message"]

    def test_of_a_long_failure_64_kib_are_told(
        self,
        proxy: RunningProxy,
        emulator: Emulator,
        alice: requests.Session,
        held: tuple[str, Held],
    ) -> None:
        answer = submit(alice, proxy, held[0])
        failure = answer.headers["X-Amzn-SageMaker-FailureLocation"]
        emulator.put_object(failure, "é".encode() * 400_000)
        told = alice.get(result_url(proxy, answer)).json()["OriginalMessage"]
        assert told == "é" * (32 * 1024)

    def test_head_tells_the_length_and_no_more(
        self, proxy: RunningProxy, alice: requests.Session
    ) -> None:
        url = result_url(proxy, submit(alice, proxy, body=b"12345"))
        fetch(alice, url)
        head = alice.head(url)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["Content-Length"] == "5"

    def test_other_methods_are_not_allowed(
        self, proxy: RunningProxy, alice: requests.Session
    ) -> None:
        url = result_url(proxy, submit(alice, proxy))
        assert alice.delete(url).status_code == 405
        options = alice.options(url)
        assert (options.status_code, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")

    def test_an_empty_output_is_an_empty_answer(
        self,
        proxy: RunningProxy,
        emulator: Emulator,
        alice: requests.Session,
        held: tuple[str, Held],
    ) -> None:
        answer = submit(alice, proxy, held[0])
        emulator.put_object(answer.headers["X-Amzn-SageMaker-OutputLocation"], b"")
        done = alice.get(result_url(proxy, answer))
        assert (done.status_code, done.content) == (200, b"")


class TestWhoMayAsk:
    @pytest.fixture
    def url(self, proxy: RunningProxy, alice: requests.Session) -> str:
        """Where Alice's output is."""
        url = result_url(proxy, submit(alice, proxy, body=b"Alice's"))
        assert fetch(alice, url).content == b"Alice's"
        return url

    def test_another_key_is_told_that_there_is_nothing(
        self, bob: requests.Session, url: str
    ) -> None:
        refused = bob.get(url)
        assert refused.status_code == 404
        assert refused.headers["x-amzn-errortype"] == "ResourceNotFound"

    def test_under_another_endpoint_there_is_nothing(
        self, alice: requests.Session, url: str
    ) -> None:
        assert alice.get(url.replace("/demo-echo/", "/demo-chat/")).status_code == 404

    def test_what_was_changed_is_nothing(self, alice: requests.Session, url: str) -> None:
        base, _, sealed = url.rpartition("/")
        other = "B" if sealed[30] == "A" else "A"
        changed = (
            sealed[:30] + other + sealed[31:],
            sealed[:-1],
            sealed + "A",
            sealed + "=",
            "A",
            "x" * 2000,
            "%C3%A9",
        )
        assert [alice.get(f"{base}/{each}").status_code for each in changed] == [404] * 7

    def test_without_a_key_there_is_no_answer(self, proxy: RunningProxy, url: str) -> None:
        assert requests.get(url, verify=str(proxy.certificate), timeout=10).status_code == 401

    def test_nothing_of_s3_can_be_read_off_it(self, url: str) -> None:
        assert OUTPUT_BUCKET not in url

    def test_a_key_for_a_component_alone_finds_its_result(
        self, proxy: RunningProxy, emulator: Emulator
    ) -> None:
        emulator.add_endpoint("parts", _echo(), kind="components", components=["one"])
        with proxy.session() as carol:
            carol.headers["Authorization"] = f"Bearer {CAROL}"
            named = {"X_Amzn_SageMaker_Inference_Component": "one"}
            url = result_url(proxy, submit(carol, proxy, "parts", b"a part", **named))
            assert fetch(carol, url).content == b"a part"

    @pytest.mark.parametrize("header", ["Filename", "Inference-Id"])
    def test_who_names_the_output_gets_no_location_for_it_could_be_anothers(
        self,
        proxy: RunningProxy,
        alice: requests.Session,
        bob: requests.Session,
        header: str,
    ) -> None:
        output = submit(alice, proxy).headers["X-Amzn-SageMaker-OutputLocation"]
        name = output.rpartition("/")[2]
        aimed = {f"x_amzn_sagemaker_{header}": name if header == "Filename" else name[:-4]}
        answer = submit(bob, proxy, "demo-echo", b"x", **aimed)
        assert answer.headers["X-Amzn-SageMaker-OutputLocation"] == output
        assert "Location" not in answer.headers

    def test_who_names_the_folder_alone_gets_one(
        self, proxy: RunningProxy, alice: requests.Session
    ) -> None:
        answer = submit(alice, proxy, X_Amzn_SageMaker_S3OutputPathExtension="team")
        assert fetch(alice, result_url(proxy, answer)).content == b"x"


def _echo() -> web.Application:
    held = Held()
    held.release()
    return held.application()


def reload(proxy: RunningProxy) -> None:
    proxy.process.send_signal(signal.SIGHUP)
    proxy.wait_for_log(lambda entry: entry["message"] == "reloaded", 30)


def test_a_key_that_has_lost_its_model_has_lost_the_result_and_a_reload_keeps_locations(
    emulator: Emulator, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(KEYS)
    with (
        RunningProxy(tmp_path, emulator.environment(), QUICK, workers=2) as proxy,
        proxy.session() as alice,
    ):
        alice.headers.update({"Authorization": f"Bearer {ALICE}", "Connection": "close"})
        url = result_url(proxy, submit(alice, proxy, body=b"kept"))
        assert fetch(alice, url).content == b"kept"
        reload(proxy)
        assert [alice.get(url).content for _ in range(6)] == [b"kept"] * 6
        keys.write_text(f'[keys.alice]\nsha256 = "{hash_key(ALICE)}"\nmodels = ["demo-chat"]\n')
        reload(proxy)
        assert alice.get(url).status_code == 404
    # And after a restart, with another process altogether.
    keys.write_text(KEYS)
    with RunningProxy(tmp_path, emulator.environment(), QUICK) as proxy, proxy.session() as alice:
        alice.headers["Authorization"] = f"Bearer {ALICE}"
        again = proxy.url + "/endpoints/" + url.partition("/endpoints/")[2]
        assert alice.get(again).content == b"kept"


def test_without_a_place_for_the_seal_there_is_a_warning_and_no_location(
    emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "seal").mkdir()
    with RunningProxy(tmp_path, emulator.environment(), QUICK) as proxy, proxy.session() as session:
        assert "Location" not in submit(session, proxy).headers
        assert sum("without a Location" in line for line in proxy.log) == 1
        url = f"{proxy.url}/endpoints/demo-echo/async-invocations/AAAA"
        assert session.get(url).status_code == 404


class TestBounds:
    SIZE = 64 * 1024 * 1024

    @pytest.fixture
    def large(
        self,
        proxy: RunningProxy,
        emulator: Emulator,
        alice: requests.Session,
        held: tuple[str, Held],
    ) -> str:
        """The path of an output of SIZE."""
        answer = submit(alice, proxy, held[0])
        output = answer.headers["X-Amzn-SageMaker-OutputLocation"]
        emulator.put_object(output, b"0123456789abcdef" * (self.SIZE // 16))
        return answer.headers["Location"]

    def test_a_large_output_is_streamed_in_little_memory(
        self, proxy: RunningProxy, alice: requests.Session, large: str
    ) -> None:
        before = most = proxy.resident_bytes()
        read, right = 0, True
        with alice.get(proxy.url + large, stream=True) as answer:
            assert answer.headers["Content-Length"] == str(self.SIZE)
            for piece in answer.iter_content(1 << 20):
                right &= piece == b"0123456789abcdef" * (len(piece) // 16)
                read += len(piece)
                most = max(most, proxy.resident_bytes())
        assert right
        assert read == self.SIZE
        assert most - before < 24 * 1024 * 1024

    def test_a_client_that_leaves_mid_way_is_noticed(
        self, proxy: RunningProxy, alice: requests.Session, large: str
    ) -> None:
        with RawClient(proxy) as raw:
            raw.send(
                f"GET {large} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {ALICE}\r\n"
                "X-Request-Id: leaver\r\n\r\n"
            )
            assert raw.read_head()[0] == 200
        entry = proxy.wait_for_request("leaver")
        assert entry["client_gone"]
        assert entry["bytes_out"] < self.SIZE
        assert alice.get(proxy.url + large).status_code == 200

    def test_of_more_than_64_at_a_time_the_rest_is_told_to_come_again(
        self, proxy: RunningProxy, emulator: Emulator, alice: requests.Session
    ) -> None:
        url = result_url(proxy, submit(alice, proxy))
        fetch(alice, url)
        alice.mount("https://", HTTPAdapter(pool_maxsize=100))
        with ThreadPoolExecutor(66) as pool:
            with emulator.storage.holding():
                asked = [pool.submit(alice.get, url) for _ in range(66)]
                refused = [each.result() for each in islice(as_completed(asked, timeout=15), 2)]
            statuses = Counter(each.result().status_code for each in asked)
        assert statuses == {200: 64, 503: 2}
        for each in refused:
            assert each.headers["Retry-After"] == "1"
            assert each.headers["x-amzn-errortype"] == "ServiceUnavailable"
        assert alice.get(url).status_code == 200


class TestInput:
    def test_a_body_that_is_too_large_for_the_call_is_put_to_s3_first(
        self, proxy: RunningProxy, emulator: Emulator, alice: requests.Session
    ) -> None:
        body = bytes(range(256)) * 20_000  # 5 MB
        answer = submit(alice, proxy, body=body, Content_Type="image/png")
        call = emulator.calls("demo-echo")[-1]
        assert call.body == b""
        location = call.headers["X-Amzn-SageMaker-InputLocation"]
        assert location.startswith(INPUTS)
        assert uuid.UUID(location.removeprefix(INPUTS)).version == 4
        assert emulator.get_object(location) == (body, "image/png")
        done = fetch(alice, result_url(proxy, answer))
        assert (done.content, done.headers["Content-Type"]) == (body, "image/png")

    def test_up_to_the_bound_it_goes_with_the_call(
        self, proxy: RunningProxy, emulator: Emulator, alice: requests.Session
    ) -> None:
        submit(alice, proxy, body=b"x" * 128_000)
        assert len(emulator.calls("demo-echo")[-1].body) == 128_000

    def test_a_location_of_the_clients_own_goes_through(
        self, proxy: RunningProxy, emulator: Emulator, alice: requests.Session
    ) -> None:
        own = f"s3://{OUTPUT_BUCKET}/own"
        emulator.put_object(own, b"the client's own")
        answer = submit(alice, proxy, body=b"", X_Amzn_SageMaker_InputLocation=own)
        assert emulator.calls("demo-echo")[-1].headers["X-Amzn-SageMaker-InputLocation"] == own
        assert fetch(alice, result_url(proxy, answer)).content == b"the client's own"

    def test_without_a_place_to_put_it_the_setting_is_named(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        with (
            RunningProxy(tmp_path, emulator.environment(), QUICK) as proxy,
            proxy.session() as session,
        ):
            url = f"{proxy.url}/endpoints/demo-echo/async-invocations"
            refused = session.post(url, data=b"x" * 128_001)
            assert refused.status_code == 413
            assert "async_inference.input_location" in refused.json()["message"]

    def test_where_sagemaker_takes_a_location_only_every_body_is_put(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        settings = f"{SETTINGS}max_inline_bytes = 0\n"
        with (
            RunningProxy(tmp_path, emulator.environment(), settings) as proxy,
            proxy.session() as session,
        ):
            answer = submit(
                session, proxy, "demo-regression", b"80,3,10,20\n", Content_Type="text/csv"
            )
            assert emulator.calls("demo-regression")[-1].body == b""
            assert fetch(session, result_url(proxy, answer)).content == b"1083.5\n"


class TestPermissions:
    @pytest.fixture
    def url(self, proxy: RunningProxy, alice: requests.Session) -> str:
        url = result_url(proxy, submit(alice, proxy))
        fetch(alice, url)
        return url

    def test_without_the_right_to_read_the_log_says_which_and_the_client_nothing(
        self, proxy: RunningProxy, emulator: Emulator, alice: requests.Session, url: str
    ) -> None:
        with emulator.storage.denying("s3:GetObject"):
            refused = alice.get(url)
        assert refused.status_code == 502
        assert OUTPUT_BUCKET not in refused.text
        assert "arn:" not in refused.text
        entry = proxy.wait_for_log(lambda entry: "lacks the IAM action" in entry["message"])
        assert f"s3:GetObject on s3://{OUTPUT_BUCKET}/" in entry["message"]

    def test_without_the_right_to_list_what_is_not_there_yet_looks_forbidden(
        self,
        proxy: RunningProxy,
        emulator: Emulator,
        alice: requests.Session,
        held: tuple[str, Held],
        url: str,
    ) -> None:
        running = result_url(proxy, submit(alice, proxy, held[0]))
        with emulator.storage.denying("s3:ListBucket"):
            assert alice.get(url).status_code == 200
            assert alice.get(running).status_code == 502
        entry = proxy.wait_for_log(lambda entry: "lacks the IAM action" in entry["message"])
        assert f"s3:ListBucket on the bucket {OUTPUT_BUCKET}" in entry["message"]
        assert alice.get(running).status_code == 202

    def test_without_the_right_to_put_a_large_body_is_refused(
        self, proxy: RunningProxy, emulator: Emulator, alice: requests.Session
    ) -> None:
        calls = len(emulator.calls("demo-echo"))
        with emulator.storage.denying("s3:PutObject"):
            refused = alice.post(
                f"{proxy.url}/endpoints/demo-echo/async-invocations", data=b"x" * 200_000
            )
        assert refused.status_code == 502
        entry = proxy.wait_for_log(lambda entry: "lacks the IAM action" in entry["message"])
        assert f"s3:PutObject on {INPUTS}" in entry["message"]
        assert len(emulator.calls("demo-echo")) == calls


def test_credentials_that_have_ended_are_replaced_without_a_failure(
    emulator: Emulator, tmp_path: Path
) -> None:
    with MetadataService(lifetime=timedelta(hours=1)) as metadata:
        environ = {
            name: value
            for name, value in emulator.environment().items()
            if name.startswith("AWS_ENDPOINT")
        } | {
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
        }

        def accept_issued() -> None:
            for access_key, secret, token in metadata.issued:
                emulator.credentials.add(access_key, secret, token)

        metadata.on_issue = accept_issued
        with RunningProxy(tmp_path, environ, QUICK) as proxy, proxy.session() as session:
            url = result_url(proxy, submit(session, proxy))
            fetch(session, url)
            for _rotation in range(3):
                emulator.credentials.expire(metadata.issued[-1][0])
                assert session.get(url).content == b"x"
                assert emulator.storage.access_keys()[-1] == metadata.issued[-1][0]


def test_a_browsers_page_may_read_the_location(emulator: Emulator, tmp_path: Path) -> None:
    settings = 'region = "us-east-1"\n[server]\nallowed_origins = ["*"]\n'
    with (
        RunningProxy(tmp_path, emulator.environment(), settings) as proxy,
        proxy.session() as session,
    ):
        answer = submit(session, proxy, Origin="https://app.example.com")
        assert "location" in answer.headers["Access-Control-Expose-Headers"]


def test_the_log_has_neither_the_sealed_part_nor_the_failures_text(
    proxy: RunningProxy, alice: requests.Session
) -> None:
    answer = submit(alice, proxy, "demo-chat", b"private words")
    failed = fetch(alice, result_url(proxy, answer))
    entry = proxy.wait_for_request(failed.headers["X-Request-Id"])
    assert entry["route"] == "/endpoints/{name}/async-invocations/{id}"
    assert (entry["model"], entry["status"], entry["key"]) == ("demo-chat", 424, "alice")
    sealed = answer.headers["Location"].rpartition("/")[2]
    log = "\n".join(proxy.log)
    assert sealed not in log
    assert json.dumps(failed.json()["OriginalMessage"]) not in log
