"""Without the control plane, what is known and what is configured is served on."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.emulator.emulator import Emulator
from tests.integration.forwarding import Way
from tests.integration.inspecting import wait_until
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape, scrape_until

SETTINGS = """
region = "us-east-1"
[upstream]
read_timeout_seconds = 10
[catalog]
refresh_seconds = 1
[models.llama]
endpoint = "demo-chat"
served_model = "demo-chat"
"""

# Of a first call: what is behind a model is looked up, and that is waited for, within a bound.
IN_TIME_SECONDS = 20


@pytest.fixture
def control_plane(emulator: Emulator) -> Iterator[Way]:
    with Way(emulator.control_url) as way:
        yield way


def start(directory: Path, emulator: Emulator, control_plane: Way) -> RunningProxy:
    environ = emulator.environment() | {"AWS_ENDPOINT_URL_SAGEMAKER": control_plane.url}
    return RunningProxy(directory, environ, SETTINGS)


class Caller:
    def __init__(self, session: requests.Session, url: str) -> None:
        self._session, self._url = session, url

    def chat(self, model: str) -> int:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        return self._post("/v1/chat/completions", json=body)

    def native(self, endpoint: str) -> int:
        return self._post(f"/endpoints/{endpoint}/invocations", data=b"x")

    def get(self, path: str) -> tuple[int, Any]:
        answer = self._session.get(self._url + path, timeout=IN_TIME_SECONDS)
        return answer.status_code, answer.json()

    def models(self) -> set[str]:
        status, body = self.get("/v1/models")
        assert status == 200, body
        return {model["id"] for model in body["data"]}

    def _post(self, path: str, **more: Any) -> int:
        answer = self._session.post(self._url + path, timeout=IN_TIME_SECONDS, **more)
        return answer.status_code


@pytest.mark.parametrize("away", ["refuse", "hang"])
def test_away_at_the_start(
    emulator: Emulator, control_plane: Way, tmp_path: Path, away: str
) -> None:
    getattr(control_plane, away)()
    with start(tmp_path, emulator, control_plane) as proxy, proxy.session() as session:
        caller = Caller(session, proxy.url)
        assert caller.native("demo-echo") == 200
        assert caller.chat("llama") == 200
        assert caller.chat("demo-chat") == 200, "nobody knows, so SageMaker itself has to say"
        assert caller.chat("no-such-model") == 404
        assert caller.get("/healthz")[0] == 200
        status, ready = caller.get("/readyz")
        assert status == 503
        assert ready["reasons"] == ["the endpoints have not been listed yet"]
        assert caller.get("/v1/models")[0] == 503
        control_plane.open()
        wait_until(lambda: caller.get("/readyz")[0] == 200, "it does not recover by itself", 30)
        assert {"llama", "demo-chat", "demo-echo"} <= caller.models()


def test_away_later(emulator: Emulator, control_plane: Way, tmp_path: Path) -> None:
    with start(tmp_path, emulator, control_plane) as proxy, proxy.session() as session:
        caller = Caller(session, proxy.url)
        wait_until(lambda: caller.get("/readyz")[0] == 200, "it is never ready")
        known = caller.models()
        control_plane.refuse()
        proxy.wait_for_log(lambda entry: entry["message"] == "the catalogue is stale", 30)
        age = scrape(proxy).value("catalog_age_seconds")
        emulator.add_endpoint("latecomer", emulator.container_url("demo-echo"))
        assert caller.native("demo-echo") == 200
        assert caller.chat("llama") == 200
        assert caller.chat("demo-chat") == 200
        assert caller.native("latecomer") == 200, "though it has never been listed"
        assert caller.chat("no-such-model") == 404
        assert caller.models() == known
        assert caller.get("/readyz") == (200, {"status": "ready", "catalog": "stale"})
        scrape_until(proxy, lambda found: found.value("catalog_age_seconds") > age + 1)
        stale = [line for line in proxy.log if "the catalogue is stale" in line]
        assert len(stale) == 1, "it is said once"
        began = time.monotonic()
        control_plane.open()
        proxy.wait_for_log(lambda entry: entry["message"] == "the catalogue is fresh again", 30)
        assert time.monotonic() - began < IN_TIME_SECONDS
        assert caller.get("/readyz") == (200, {"status": "ready", "catalog": "fresh"})
        assert caller.models() == known | {"latecomer"}
