"""Keys from a file: who may call what, and what a reload changes."""

import json
import math
import random
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from proxy.keys import hash_key
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy

ALICE, BOB = str(uuid.uuid4()), str(uuid.uuid4())
VARIES = ("Date", "X-Request-Id")  # of answers that are the same
CHAT = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}


def keys_file(*entries: tuple[str, str, str]) -> str:
    return "".join(
        f'[keys.{name}]\nsha256 = "{hash_key(key)}"\n{more}\n' for name, key, more in entries
    )


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("keys")
    (directory / "keys.toml").write_text(
        keys_file(("alice", ALICE, ""), ("bob", BOB, 'models = ["demo-e*"]'))
    )
    with RunningProxy(directory, emulator.environment(), QUICK) as proxy:
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


def ids(answer: requests.Response) -> set[str]:
    return {model["id"] for model in answer.json()["data"]}


def test_each_key_sees_its_own_models(
    proxy: RunningProxy, alice: requests.Session, bob: requests.Session
) -> None:
    assert {"demo-chat", "demo-echo"} <= ids(alice.get(f"{proxy.url}/v1/models"))
    assert ids(bob.get(f"{proxy.url}/v1/models")) == {"demo-echo"}
    listed = bob.get(f"{proxy.url}/list_endpoints").json()
    assert [endpoint["EndpointName"] for endpoint in listed] == ["demo-echo"]


def test_each_key_calls_its_own_models(
    proxy: RunningProxy, alice: requests.Session, bob: requests.Session
) -> None:
    assert alice.post(f"{proxy.url}/v1/chat/completions", json=CHAT).status_code == 200
    assert bob.post(f"{proxy.url}/predict", json={"model": "demo-echo"}).status_code == 200
    assert bob.post(f"{proxy.url}/endpoints/demo-echo/invocations", data=b"x").content == b"x"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/{model}"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/predict"),
        ("POST", "/endpoints/{model}/invocations"),
        ("POST", "/endpoints/{model}/invocations-response-stream"),
        ("POST", "/endpoints/{model}/async-invocations"),
    ],
)
def test_another_keys_model_is_as_one_that_does_not_exist(
    proxy: RunningProxy, emulator: Emulator, bob: requests.Session, method: str, path: str
) -> None:
    before = len(emulator.calls("demo-chat"))

    def refusal(model: str) -> tuple[int, dict[str, str], bytes]:
        url = proxy.url + path.format(model=model)
        answer = bob.request(method, url, json=CHAT | {"model": model})
        headers = {name: value for name, value in answer.headers.items() if name not in VARIES}
        return answer.status_code, headers, answer.content.replace(model.encode(), b"MODEL")

    assert refusal("demo-chat") == refusal("none-chat") == refusal("demo-xxxx")
    assert refusal("demo-chat")[0] == 404
    assert len(emulator.calls("demo-chat")) == before


def test_another_keys_model_takes_no_other_time_than_one_that_does_not_exist(
    proxy: RunningProxy,
) -> None:
    # They are asked in random order, so whatever else the machine does is met by both alike: the
    # sum of the ranks of one kind is as if by chance, which is over 5 once in two million runs.
    each = 100
    asked = ["demo-chat", "none-chat"] * each
    random.shuffle(asked)
    took = []
    with RawClient(proxy) as raw:
        for model in ["demo-chat", "none-chat", *asked]:
            body = json.dumps(CHAT | {"model": model}).encode()
            headers = {"Authorization": f"Bearer {BOB}"}
            began = time.perf_counter()
            answer = raw.request("POST", "/v1/chat/completions", headers, body)
            took.append((time.perf_counter() - began, model))
            assert answer.status == 404
    ranked = [model for _, model in sorted(took[2:])]
    ranks = sum(rank for rank, model in enumerate(ranked, 1) if model == "demo-chat")
    expected, spread = each * (2 * each + 1) / 2, math.sqrt(each * each * (2 * each + 1) / 12)
    assert abs(ranks - expected) / spread < 5


def test_the_name_of_the_key_is_in_the_log_and_the_key_is_not(
    proxy: RunningProxy, bob: requests.Session
) -> None:
    request_id = bob.get(f"{proxy.url}/v1/models").headers["X-Request-Id"]
    assert proxy.wait_for_request(request_id)["key"] == "bob"
    assert not any(key in line for key in (ALICE, BOB) for line in proxy.log)


def test_a_reload_takes_new_keys_and_lets_old_ones_go(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(keys_file(("alice", ALICE, "")))
    with RunningProxy(tmp_path, emulator.environment(), QUICK) as proxy:

        def status(key: str) -> int:
            headers = {"X-API-Key": key, "Connection": "close"}
            with proxy.session() as session:
                del session.headers["Authorization"]
                return session.get(f"{proxy.url}/v1/models", headers=headers).status_code

        def reload(outcome: str) -> None:
            proxy.process.send_signal(signal.SIGHUP)
            proxy.wait_for_log(lambda entry: entry["message"].startswith(outcome), 30)

        assert (status(ALICE), status(BOB)) == (200, 401)
        path.write_text("[keys.bob]\nsha256 = 1")
        reload("the reload failed")
        assert (status(ALICE), status(BOB)) == (200, 401)
        path.write_text(keys_file(("bob", BOB, "")))
        reload("reloaded")
        assert (status(ALICE), status(BOB)) == (401, 200)
