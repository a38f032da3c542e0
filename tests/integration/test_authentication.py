"""Every route but the public ones asks for a key, whatever the method, and takes no other."""

import itertools
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from proxy.application import ROUTES
from proxy.keys import hash_key
from proxy.openapi import description
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.recorder import Recorder
from tests.integration.running import RunningProxy

# Without a key, and why that is right: they tell nothing of models, keys or traffic.
PUBLIC = {
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/docs/{file}",
    "/console",
    "/console/{file}",
}

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BREW")

RIGHT, EXPIRED = str(uuid.uuid4()), str(uuid.uuid4())
ENDED = datetime.fromtimestamp(time.time() - 60, UTC)

CREDENTIALS = {
    "none": {},
    "an empty one": {"X-API-Key": "", "Authorization": "Bearer "},
    "a wrong one": {"X-API-Key": str(uuid.uuid4())},
    "one that has expired": {"Authorization": f"Bearer {EXPIRED}"},
    "the hash": {"X-API-Key": hash_key(RIGHT)},
    "half of it": {"Authorization": f"Bearer {RIGHT[:18]}"},
    "too much": {"X-API-Key": f"{RIGHT}{RIGHT}"},
    "two in one": {"X-API-Key": f"{RIGHT},{RIGHT}"},
    "as a password": {"Authorization": f"Basic {RIGHT}"},
    "a pattern": {"X-API-Key": "*"},
}


@pytest.fixture(scope="module")
def sagemaker() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def proxy(
    emulator: Emulator, sagemaker: Recorder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    (directory / "keys.toml").write_text(
        f'[keys.right]\nsha256 = "{hash_key(RIGHT)}"\n'
        f'[keys.expired]\nsha256 = "{hash_key(EXPIRED)}"\nexpires = {ENDED.isoformat()}\n'
    )
    environ = emulator.environment() | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": sagemaker.url}
    with RunningProxy(directory, environ, QUICK) as proxy:
        yield proxy


def test_the_public_ones_are_these() -> None:
    assert {route for route, _, handler in ROUTES if handler.public} == PUBLIC
    described = {
        path
        for path, item in description()["paths"].items()
        for method, operation in item.items()
        if method != "parameters" and operation.get("security") == []
    }
    assert described == PUBLIC


@pytest.mark.parametrize("given", CREDENTIALS)
def test_all_others_take_nothing_but_the_key(
    proxy: RunningProxy, sagemaker: Recorder, given: str
) -> None:
    body = b'{"model": "demo-echo", "messages": []}'
    closed = [route for route, _, _ in ROUTES if route not in PUBLIC]
    with RawClient(proxy) as raw:
        for route, method in itertools.product([*closed, "/nowhere"], METHODS):
            path = route.format(name="demo-echo", id="demo-echo")
            answer = raw.request(method, path, {"Accept": "*/*", **CREDENTIALS[given]}, body)
            # 429 in its place after many wrong ones.
            assert answer.status in (401, 429), (method, path)
            assert RIGHT.encode() not in answer.body
            assert b"demo-echo" not in answer.body
    assert sagemaker.received == []


def test_the_key_opens_every_one_of_them(proxy: RunningProxy) -> None:
    with RawClient(proxy) as raw:
        for route, _, handler in ROUTES:
            path = route.format(name="demo-echo", id="demo-echo", file="none")
            answer = raw.request(handler.methods[0], path, {"X-API-Key": RIGHT}, b"{}")
            assert answer.status not in (401, 403, 429), path


def test_a_browser_without_a_key_sees_no_more_than_where_the_console_is(
    proxy: RunningProxy,
) -> None:
    with RawClient(proxy) as raw:
        answer = raw.request("GET", "/", {"Accept": "text/html"})
        assert (answer.status, answer.headers["location"], answer.body) == (303, "console", b"")
        wrong = {"Accept": "text/html", "X-API-Key": "wrong"}
        assert raw.request("GET", "/", wrong).status in (401, 429)
