"""``GET /console/figures``: what a key has done, over all workers and over a reload."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy, worker_ready

Figures = dict[str, Any]


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory: Path = tmp_path_factory.mktemp("proxy")
    environ = {**emulator.environment(), "RUNTIME_DIRECTORY": str(directory)}
    with RunningProxy(directory, environ, QUICK, workers=2) as proxy:
        yield proxy


def ask(proxy: RunningProxy, **body: Any) -> requests.Response:
    """On a connection of its own, so that either worker may get it."""
    with proxy.session() as session:
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": "demo-chat", "messages": messages, **body}
        return session.post(f"{proxy.url}/v1/chat/completions", json=body)


def figures_when(proxy: RunningProxy, wanted: Callable[[dict[str, Figures]], bool]) -> Any:
    deadline = time.monotonic() + 10
    while True:
        with proxy.session() as session:
            answer = session.get(f"{proxy.url}/console/figures").json()
        if wanted({row["model"]: row for row in answer["models"]}):
            return answer
        assert time.monotonic() < deadline, answer


def test_they_are_of_all_workers_and_outlive_a_reload(proxy: RunningProxy) -> None:
    for _ in range(6):
        assert ask(proxy).status_code == 200
    streamed = ask(proxy, stream=True)
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert ask(proxy, model="no-such-model").status_code == 404

    def is_all(models: dict[str, Figures]) -> bool:
        return "unknown" in models and models.get("demo-chat", {}).get("requests") == 7

    answer = figures_when(proxy, is_all)
    assert (answer["key"], answer["limits"]["requests_per_minute"]) == ("default", 0)
    assert answer["time"] == pytest.approx(time.time(), abs=30)
    chat = next(row for row in answer["models"] if row["model"] == "demo-chat")
    assert (chat["client_errors"], chat["server_errors"], chat["streams"]) == (0, 0, 1)
    assert 0 < chat["first_token_seconds"] < 10
    assert chat["completion_tokens"] > 7

    proxy.process.send_signal(signal.SIGHUP)
    for _ in range(2):
        proxy.wait_for_log(worker_ready, 30)
    assert ask(proxy).status_code == 200
    figures_when(proxy, lambda models: models["demo-chat"]["requests"] == 8)


def test_they_need_the_key_and_are_kept_by_nobody(
    proxy: RunningProxy, session: requests.Session
) -> None:
    answer = session.get(f"{proxy.url}/console/figures")
    assert answer.headers["Cache-Control"] == "no-store"
    refused = session.get(f"{proxy.url}/console/figures", headers={"Authorization": ""})
    assert refused.status_code == 401
