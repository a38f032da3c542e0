"""Limits that hold over several hosts, by a server that all of them count on."""

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from proxy.keys import hash_key
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy
from tests.integration.scraping import scrape
from tests.integration.shared_counts import PASSWORD, CountsServer

LIMITS = {
    "requests": "requests_per_minute = 100",
    "tokens": "tokens_per_minute = 150",
    "concurrent": "max_concurrent = 3",
    "away": "requests_per_minute = 5",
}
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountsServer]:
    with CountsServer(tmp_path_factory.mktemp("counts")) as server:
        yield server


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    return {name: str(uuid.uuid4()) for name in LIMITS}


@pytest.fixture(scope="module")
def hosts(
    emulator: Emulator,
    server: CountsServer,
    keys: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[RunningProxy]]:
    emulator.add_endpoint("half-second", chat.application(("half-second",), token_delay=0.01))
    with ExitStack() as stack:
        yield [
            stack.enter_context(host(emulator, server, keys, tmp_path_factory.mktemp("host")))
            for _ in range(2)
        ]


def host(
    emulator: Emulator,
    server: CountsServer,
    keys: dict[str, str],
    directory: Path,
    without: str = "open",
    workers: int = 1,
) -> RunningProxy:
    entries = (
        f'[keys.{name}]\nsha256 = "{hash_key(key)}"\n{LIMITS[name]}\n' for name, key in keys.items()
    )
    (directory / "keys.toml").write_text("".join(entries))
    settings = f'{QUICK}[limits]\nbackend = "{server.url}"\nwithout_backend = "{without}"\n'
    return RunningProxy(directory, emulator.environment(), settings, workers=workers)


def ask(proxy: RunningProxy, key: str, model: str = "demo-chat") -> requests.Response:
    with proxy.session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        body = {"model": model, "messages": HELLO}
        return session.post(f"{proxy.url}/v1/chat/completions", json=body, timeout=60)


def test_requests_are_counted_over_hosts(hosts: list[RunningProxy], keys: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(hosts[n % 2], keys["requests"]), range(130)))
    assert Counter(answer.status_code for answer in answers) == {200: 100, 429: 30}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 50 <= int(refused.headers["Retry-After"]) <= 61
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"


def test_so_are_tokens(hosts: list[RunningProxy], keys: dict[str, str]) -> None:
    answers: list[requests.Response] = []
    while not answers or answers[-1].status_code == 200:
        answers.append(ask(hosts[len(answers) % 2], keys["tokens"]))
        remaining = int(answers[-1].headers["x-ratelimit-remaining-tokens"])
    used = int(answers[0].json()["usage"]["total_tokens"])
    # What the last answer has cost may not have arrived when the next one is asked for.
    assert -(-150 // used) + 1 <= len(answers) <= -(-150 // used) + 2
    assert remaining == 0


def test_so_are_requests_under_way(hosts: list[RunningProxy], keys: dict[str, str]) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(9) as pool:
        answers = list(
            pool.map(lambda n: ask(hosts[n % 2], keys["concurrent"], "half-second"), range(9))
        )
    one = time.monotonic()
    assert [answer.status_code for answer in answers] == [200] * 9
    ask(hosts[0], keys["requests"], "half-second")
    assert ask(hosts[0], keys["concurrent"], "half-second").status_code == 200
    # Three at once, three times over.
    assert one - began > 1.2 * (time.monotonic() - one)


def test_while_the_server_hangs_each_host_counts_for_itself_and_says_so_once(
    hosts: list[RunningProxy], server: CountsServer, keys: dict[str, str]
) -> None:
    server.freeze()
    try:
        began = time.monotonic()
        statuses = [ask(hosts[0], keys["away"]).status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        assert time.monotonic() - began < 5
    finally:
        server.go_on()
    away = hosts[0].wait_for_log(lambda entry: entry["message"].endswith("is away"))
    assert away["choice"] == "each host counts for itself"
    deadline = time.monotonic() + 10
    while not any("is back" in line for line in hosts[0].log):
        assert time.monotonic() < deadline
        ask(hosts[0], keys["requests"])
    assert sum("is away" in line for line in hosts[0].log) == 1


def test_or_refuses_what_has_limits_if_so_configured(
    emulator: Emulator, keys: dict[str, str], tmp_path: Path
) -> None:
    with CountsServer(tmp_path) as server, ExitStack() as stack:
        proxy = stack.enter_context(host(emulator, server, keys, tmp_path, "closed"))
        assert ask(proxy, keys["away"]).status_code == 200
        server.kill()
        refused = ask(proxy, keys["away"])
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert ask(proxy, proxy.key).status_code == 200


def test_the_metrics_tell_whether_it_is_there_though_no_key_with_limits_is_used(
    emulator: Emulator, keys: dict[str, str], tmp_path: Path
) -> None:
    with CountsServer(tmp_path) as server, ExitStack() as stack:
        proxy = stack.enter_context(host(emulator, server, keys, tmp_path, workers=2))

        def all_tell(value: int) -> bool:
            # Each on a connection of its own, so that both workers are asked.
            told = [scrape(proxy).samples("limits_backend_up") for _ in range(10)]
            return told == [[({}, value)]] * 10

        def both_say(message: str) -> None:
            said = [proxy.wait_for_log(lambda entry: message in entry["message"]) for _ in range(2)]
            assert {entry["pid"] for entry in said} == set(proxy.workers)

        assert all_tell(1)
        server.kill()
        both_say("the server of the limits is away")
        assert all_tell(0)
        server.start_again()
        both_say("the server of the limits is back")
        assert all_tell(1)
        assert ask(proxy, keys["away"]).headers["x-ratelimit-remaining-requests"] == "4"
        assert sum("is away" in line for line in proxy.log) == 2


def test_its_password_is_shown_nowhere(hosts: list[RunningProxy]) -> None:
    assert not [line for proxy in hosts for line in proxy.log if PASSWORD in line]
