"""What Prometheus reads: all workers together, over reloads and crashes, and no more than fits."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from proxy import __version__
from proxy.guesses import MOST_A_MINUTE
from proxy.keys import hash_key
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import Entry, RunningProxy, worker_ready
from tests.integration.scraping import Scrape, scrape, scrape_until

CHAT = "/v1/chat/completions"
LIMITS = {
    "alice": 'models = ["demo-*"]',
    "few-requests": "requests_per_minute = 1",
    "few-tokens": "tokens_per_minute = 1",
    "one-at-a-time": "max_concurrent = 1",
}
SETTINGS = f"{QUICK}\n[limits]\nmax_concurrent = 3\nmax_queued = 0\nqueue_seconds = 1\n"


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    return {name: str(uuid.uuid4()) for name in LIMITS}


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    emulator.add_endpoint("endless", chat.application(("endless",), token_delay=0.2))
    return emulator


def start(
    directory: Path, emulator: Emulator, keys: dict[str, str], settings: str, workers: int
) -> RunningProxy:
    (directory / "keys.toml").write_text(
        "".join(
            f'[keys.{name}]\nsha256 = "{hash_key(key)}"\n{LIMITS[name]}\n'
            for name, key in keys.items()
        )
    )
    # As systemd gives it; the workers' files are found there.
    environ = {**emulator.environment(), "RUNTIME_DIRECTORY": str(directory)}
    return RunningProxy(directory, environ, settings, workers=workers)


@pytest.fixture(scope="module")
def proxy(
    deployed: Emulator, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    with start(tmp_path_factory.mktemp("proxy"), deployed, keys, QUICK, 2) as proxy:
        yield proxy


def ask(
    proxy: RunningProxy, key: str = "", model: str = "demo-chat", **fields: object
) -> requests.Response:
    """Call a chat over a connection of its own."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **fields}
    with proxy.session() as session:
        session.headers["Authorization"] = f"Bearer {key or proxy.key}"
        return session.post(f"{proxy.url}{CHAT}", json=body, timeout=60)


class TestWhoMayRead:
    def test_it_takes_a_key(self, proxy: RunningProxy) -> None:
        with proxy.session() as session:
            del session.headers["Authorization"]
            assert session.get(f"{proxy.url}/metrics").status_code == 401

    def test_and_one_of_every_model_for_it_names_all_keys(
        self, proxy: RunningProxy, keys: dict[str, str]
    ) -> None:
        with proxy.session() as session:
            session.headers["Authorization"] = f"Bearer {keys['alice']}"
            refusal = session.get(f"{proxy.url}/metrics")
        assert refusal.status_code == 403
        error = refusal.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "permission_denied")
        assert 'models = ["*"]' in error["message"]

    @pytest.mark.parametrize(
        ("accept", "content_type"),
        [
            ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
            (
                "application/openmetrics-text; version=1.0.0",
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
        ],
    )
    def test_the_format_is_what_the_reader_accepts(
        self, session: requests.Session, proxy: RunningProxy, accept: str, content_type: str
    ) -> None:
        answer = session.get(f"{proxy.url}/metrics", headers={"Accept": accept})
        assert answer.headers["Content-Type"].startswith(content_type)
        assert answer.text.endswith("# EOF\n") == accept.startswith("application/openmetrics")


class TestRequests:
    def test_those_of_all_workers_are_counted_whoever_is_asked(self, proxy: RunningProxy) -> None:
        served: set[int] = set()
        before, count = scrape(proxy), 0
        while len(served) < 2:
            request_id = ask(proxy).headers["x-request-id"]
            served.add(proxy.wait_for_request(request_id)["pid"])
            count += 1
        for _ in range(5):
            after = scrape(proxy)
            for name, labels in {
                "requests_total": {"route": CHAT, "model": "demo-chat", "status": "2xx"},
                "key_requests_total": {"key": "default"},
                "request_duration_seconds_count": {"route": CHAT, "model": "demo-chat"},
                "time_to_first_byte_seconds_count": {"route": CHAT, "model": "demo-chat"},
                "upstream_requests_total": {"operation": "invocations", "status": "2xx"},
            }.items():
                grown = after.value(name, **labels) - before.value(name, **labels)
                # The readers' own requests are by the same key.
                assert grown >= count if name == "key_requests_total" else grown == count, name

    def test_tokens_are_counted_by_model_and_by_key(
        self, proxy: RunningProxy, keys: dict[str, str]
    ) -> None:
        before = scrape(proxy)
        usage = ask(proxy, keys["alice"]).json()["usage"]
        after = scrape(proxy)
        for kind in ("prompt", "completion"):
            assert usage[f"{kind}_tokens"] > 0
            for name, labels in (
                ("tokens_total", {"model": "demo-chat"}),
                ("key_tokens_total", {"key": "alice"}),
            ):
                grown = after.value(name, kind=kind, **labels) - before.value(
                    name, kind=kind, **labels
                )
                assert grown == usage[f"{kind}_tokens"]

    def test_models_that_there_are_not_make_no_series(self, proxy: RunningProxy) -> None:
        before = scrape(proxy)
        for number in range(10):
            assert ask(proxy, model=f"no-such-{number}").status_code == 404
        with proxy.session() as session:
            session.post(f"{proxy.url}/endpoints/no-such-10/invocations")
            session.get(f"{proxy.url}/no/such/path")
        after = scrape(proxy)
        assert "no-such" not in after.text
        assert "/no/such" not in after.text
        labels = {"route": CHAT, "model": "unknown", "status": "4xx"}
        grown = after.value("requests_total", **labels) - before.value("requests_total", **labels)
        assert grown == 10

    def test_a_wrong_key_is_counted_without_a_name(self, proxy: RunningProxy) -> None:
        before = scrape(proxy).value("key_requests_total", status="4xx")
        assert ask(proxy, str(uuid.uuid4())).status_code == 401
        assert scrape(proxy).value("key_requests_total", status="4xx") == before


class TestLimits:
    def grown(self, proxy: RunningProxy, before: Scrape, reason: str) -> float:
        labels = {"reason": reason}
        return scrape(proxy).value("limited_total", **labels) - before.value(
            "limited_total", **labels
        )

    def test_all_reasons_are_there_from_the_start(self, proxy: RunningProxy) -> None:
        reasons = {labels["reason"] for labels, _ in scrape(proxy).samples("limited_total")}
        assert reasons == {"requests", "tokens", "concurrency", "overload", "guesses"}

    @pytest.mark.parametrize("limit", ["requests", "tokens"])
    def test_what_a_minute_has(self, proxy: RunningProxy, keys: dict[str, str], limit: str) -> None:
        before = scrape(proxy)
        statuses = [ask(proxy, keys[f"few-{limit}"]).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert self.grown(proxy, before, limit) == 1

    def test_what_goes_on_at_once_waits_and_is_refused(
        self, deployed: Emulator, keys: dict[str, str], tmp_path: Path
    ) -> None:
        with start(tmp_path, deployed, keys, SETTINGS, 1) as proxy, ThreadPoolExecutor(5) as pool:
            before = scrape(proxy)
            streams = [pool.submit(ask, proxy, keys["one-at-a-time"], "slow-chat", stream=True)]
            scrape_until(proxy, lambda found: found.value("streams_open") == 1)
            assert ask(proxy, keys["one-at-a-time"]).status_code == 429
            assert self.grown(proxy, before, "concurrency") == 1
            for _ in range(2):
                streams.append(pool.submit(ask, proxy, "", "endless", stream=True))
            scrape_until(proxy, lambda found: found.value("streams_open") == 3)
            assert ask(proxy).status_code == 503
            assert self.grown(proxy, before, "overload") == 1
            assert {stream.result().status_code for stream in streams} == {200}

    def test_guesses(self, proxy: RunningProxy) -> None:
        before = scrape(proxy)
        with proxy.session() as session:  # one connection, so one worker
            session.headers["Authorization"] = f"Bearer {uuid.uuid4()}"
            for _ in range(MOST_A_MINUTE + 3):
                last = session.get(f"{proxy.url}/v1/models")
        assert last.status_code == 429
        assert self.grown(proxy, before, "guesses") >= 3


class TestSageMaker:
    def test_attempts_and_why_they_were_made_again(
        self, proxy: RunningProxy, deployed: Emulator
    ) -> None:
        before = scrape(proxy)
        deployed.set_fault("demo-chat", "throttled", times=2)
        assert ask(proxy).status_code == 200
        after = scrape(proxy)
        for name, labels, grown in (
            ("upstream_retries_total", {"reason": "throttled"}, 2),
            ("upstream_requests_total", {"operation": "invocations", "status": "4xx"}, 2),
            ("upstream_requests_total", {"operation": "invocations", "status": "2xx"}, 1),
        ):
            assert after.value(name, **labels) - before.value(name, **labels) == grown

    def test_waits_for_a_model_to_wake(self, proxy: RunningProxy, deployed: Emulator) -> None:
        before = scrape(proxy)
        deployed.set_fault("demo-chat", "no_capacity", times=2)
        assert ask(proxy).status_code == 200
        after = scrape(proxy)
        for name in ("waking_waits_total", "waking_wait_seconds_count"):
            assert after.value(name) - before.value(name) == 1
        assert after.value("waking_wait_seconds_sum") > before.value("waking_wait_seconds_sum")


class TestThisMoment:
    def test_what_is_open(self, proxy: RunningProxy) -> None:
        body = {"model": "endless", "messages": [], "stream": True}
        body["messages"] = [{"role": "user", "content": "Hello"}]
        with proxy.session() as session:
            stream = session.post(f"{proxy.url}{CHAT}", json=body, stream=True)
            pieces = stream.iter_content(1)  # to be kept: its end is the connection's
            next(pieces)
            found = scrape_until(proxy, lambda found: found.value("streams_open") == 1)
            assert found.value("requests_open") >= 1
            assert found.value("connections") >= 1
        scrape_until(proxy, lambda found: found.value("streams_open") == 0)

    def test_what_a_worker_knows(self, proxy: RunningProxy) -> None:
        found = scrape(proxy)
        assert found.samples("build_info") == [({"version": __version__}, 1)]
        assert 0 <= found.value("catalog_age_seconds") < 600
        assert found.value("certificate_expiry_timestamp_seconds") > time.time() + 86400
        assert found.value("event_loop_lag_seconds_count") > 0
        # Given by the environment, they do not end.
        assert found.samples("credentials_expiry_timestamp_seconds") == []
        # Nor is any server asked that counts for other hosts, too.
        assert found.samples("limits_backend_up") == []


class TestWorkersThatEnd:
    @pytest.fixture
    def proxy(
        self, deployed: Emulator, keys: dict[str, str], tmp_path: Path
    ) -> Iterator[RunningProxy]:
        with start(tmp_path, deployed, keys, QUICK, 1) as proxy:
            yield proxy

    def files(self, proxy: RunningProxy) -> set[str]:
        return {path.name for path in proxy.directory.glob("shared-*/series/*")}

    def test_counts_go_on_and_files_stay_few_over_reloads(self, proxy: RunningProxy) -> None:
        labels = {"route": CHAT, "model": "demo-chat"}
        for number in range(1, 6):
            assert ask(proxy).status_code == 200
            assert scrape(proxy).value("requests_total", **labels) == number
            proxy.process.send_signal(signal.SIGHUP)
            proxy.wait_for_log(lambda entry: entry["message"] == "stopped", 30)
        wanted = {f"{column}.{what}" for column in (0, 1) for what in ("names", "numbers")}
        deadline = time.monotonic() + 10
        while len(live := {each for each in self.files(proxy) if "live" in each}) > 2:
            assert time.monotonic() < deadline, live
            time.sleep(0.02)
        assert self.files(proxy) - live == wanted

    def test_what_was_open_in_a_worker_that_was_killed_is_not_open(
        self, proxy: RunningProxy
    ) -> None:
        with ThreadPoolExecutor(1) as pool:
            stream = pool.submit(ask, proxy, "", "endless", stream=True)
            scrape_until(proxy, lambda found: found.value("streams_open") == 1)

            def ready(entry: Entry) -> bool:
                return worker_ready(entry) and entry["worker_pid"] != proxy.workers[0]

            os.kill(proxy.workers[0], signal.SIGKILL)
            proxy.wait_for_log(ready, 30)
            found = scrape(proxy)
            assert found.value("streams_open") == 0
            assert found.value("requests_total", route="/metrics") > 0
            with pytest.raises(requests.RequestException):
                stream.result()
