"""What a key may use, over all workers, and what a worker takes at once."""

import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import requests
from openai.types.chat import ChatCompletionUserMessageParam

from proxy.guesses import MOST_A_MINUTE
from proxy.keys import hash_key
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy

LIMITS = {
    "requests": "requests_per_minute = 200",
    "few-requests": "requests_per_minute = 2",
    "tokens": "tokens_per_minute = 150",
    "concurrent": "max_concurrent = 3",
    "one-at-a-time": "max_concurrent = 1",
    "alice": "",
    "bob": "",
}
SETTINGS = f"{QUICK}\n[limits]\nmax_concurrent = 10\nmax_queued = 40\nqueue_seconds = 5\n"
SMALL = f"{QUICK}\n[limits]\nmax_concurrent = 2\nmax_queued = 4\nqueue_seconds = 30\n"


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    return {name: str(uuid.uuid4()) for name in LIMITS}


def write_keys(directory: Path, keys: dict[str, str]) -> None:
    (directory / "keys.toml").write_text(
        "".join(
            f'[keys.{name}]\nsha256 = "{hash_key(key)}"\n{LIMITS[name]}\n'
            for name, key in keys.items()
        )
    )


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Emulator:
    emulator.add_endpoint("half-second", chat.application(("half-second",), token_delay=0.01))
    return emulator


@pytest.fixture(scope="module")
def proxy(
    deployed: Emulator, keys: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    write_keys(directory, keys)
    with RunningProxy(directory, deployed.environment(), SETTINGS, workers=2) as proxy:
        yield proxy


HELLO: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello"}]

Ask = Callable[..., requests.Response]


@pytest.fixture
def ask(proxy: RunningProxy, keys: dict[str, str]) -> Ask:
    """Calls a chat by the key of a name, over a connection of its own."""
    return asker(proxy, keys)


def asker(proxy: RunningProxy, keys: dict[str, str]) -> Ask:
    def ask(name: str, model: str = "demo-chat", **fields: object) -> requests.Response:
        body = {"model": model, "messages": HELLO, **fields}
        with proxy.session() as session:
            session.headers["Authorization"] = f"Bearer {keys[name]}"
            return session.post(f"{proxy.url}/v1/chat/completions", json=body, timeout=60)

    return ask


@pytest.fixture
def client(proxy: RunningProxy, keys: dict[str, str]) -> Callable[..., openai.OpenAI]:
    def client(name: str, max_retries: int) -> openai.OpenAI:
        http = openai.DefaultHttpxClient(verify=proxy.client_context())
        return openai.OpenAI(
            api_key=keys[name],
            base_url=f"{proxy.url}/v1",
            http_client=http,
            max_retries=max_retries,
        )

    return client


class TestRequestsPerMinute:
    def test_it_holds_over_all_workers_and_over_a_reload(
        self, proxy: RunningProxy, keys: dict[str, str]
    ) -> None:
        counts: Counter[int] = Counter()

        def hammer(_number: int) -> None:
            with proxy.session() as session:
                session.headers["Authorization"] = f"Bearer {keys['requests']}"
                body = {"model": "demo-chat", "messages": HELLO}
                for _ in range(20):
                    answer = session.post(f"{proxy.url}/v1/chat/completions", json=body, timeout=60)
                    counts[answer.status_code] += 1

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(hammer, range(16)))
        assert counts == {200: 200, 429: 120}
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for_log(lambda entry: entry["message"].startswith("reloaded"), 30)
        hammer(0)
        assert counts == {200: 200, 429: 140}

    def test_answers_say_what_is_left_and_a_refusal_says_for_how_long(self, ask: Ask) -> None:
        answers = [ask("few-requests") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == list(
            "100"
        )
        for answer in answers:
            assert answer.headers["x-ratelimit-limit-requests"] == "2"
            assert answer.headers["x-ratelimit-reset-requests"] == "1m0s"
            assert "x-ratelimit-limit-tokens" not in answer.headers
        assert 55 <= int(answers[2].headers["Retry-After"]) <= 61
        error = answers[2].json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert error["message"].startswith(
            "the key 'few-requests' has used its 2 requests a minute; try again in "
        )

    def test_keys_without_limits_have_no_such_headers(self, ask: Ask) -> None:
        assert not [name for name in ask("alice").headers if name.startswith("x-ratelimit")]


class TestTokensPerMinute:
    def test_those_of_streams_count_though_the_client_did_not_ask_for_them(self, ask: Ask) -> None:
        used = int(ask("alice").json()["usage"]["total_tokens"])
        assert 30 < used < 75
        streamed = ask("tokens", stream=True)
        assert '"usage"' not in streamed.text
        assert '"choices":[]' not in streamed.text
        assert streamed.text.endswith("data: [DONE]\n\n")
        second = ask("tokens", stream=True, stream_options={"include_usage": True})
        assert '"usage"' in second.text
        assert second.headers["x-ratelimit-remaining-tokens"] == str(150 - used)
        statuses = [second.status_code]
        while statuses[-1] == 200 and len(statuses) < 10:
            statuses.append((last := ask("tokens")).status_code)
        assert len(statuses) == -(-150 // used)
        assert statuses[-1] == 429
        assert last.headers["x-ratelimit-remaining-tokens"] == "0"
        assert "tokens a minute" in last.json()["error"]["message"]


class TestConcurrency:
    def test_requests_over_a_keys_bound_wait_for_their_turn(
        self, proxy: RunningProxy, ask: Ask, deployed: Emulator
    ) -> None:
        before = len(deployed.calls("half-second"))
        began = time.monotonic()
        with ThreadPoolExecutor(9) as pool:
            answers = list(pool.map(lambda _: ask("concurrent", "half-second"), range(9)))
        assert [answer.status_code for answer in answers] == [200] * 9
        assert len(deployed.calls("half-second")) - before == 9
        one = time.monotonic()
        ask("alice", "half-second")
        # Three at once, three times over; at once they would take as long as one.
        assert one - began > 2.5 * (time.monotonic() - one)

    def test_a_flood_is_refused_and_the_openai_client_tries_again(
        self, ask: Ask, client: Callable[..., openai.OpenAI], proxy: RunningProxy
    ) -> None:
        with ThreadPoolExecutor(60) as pool:
            flood = [pool.submit(ask, "one-at-a-time", "half-second") for _ in range(60)]
            proxy.wait_for_log(lambda entry: entry.get("error") == "rate_limit_exceeded")
            with client("one-at-a-time", max_retries=0) as hasty:
                with pytest.raises(openai.RateLimitError) as refusal:
                    hasty.chat.completions.create(model="demo-chat", messages=HELLO)
                assert refusal.value.response.headers["Retry-After"] == "1"
            with client("one-at-a-time", max_retries=20) as patient:
                answer = patient.chat.completions.create(model="demo-chat", messages=HELLO)
                assert answer.choices[0].message.content
            assert {future.result().status_code for future in flood} == {200, 429}

    def test_one_keys_flood_does_not_starve_another(
        self, deployed: Emulator, keys: dict[str, str], tmp_path: Path
    ) -> None:
        write_keys(tmp_path, keys)
        with RunningProxy(tmp_path, deployed.environment(), SMALL) as proxy:
            ask = asker(proxy, keys)
            with ThreadPoolExecutor(30) as pool:
                flood = [pool.submit(ask, "alice", "half-second") for _ in range(30)]
                proxy.wait_for_log(lambda entry: entry.get("error") == "overloaded")
                answer = ask("bob")
                assert answer.status_code == 200
                done = [future.done() for future in flood]
                answers = [future.result() for future in flood]
            refused = [answer for answer in answers if answer.status_code == 503]
            # Two go on at once, and a key alone gets half of the places to wait.
            assert len(refused) == 30 - 2 - 2
            assert done.count(False) > 0
            assert refused[0].json()["error"]["code"] == "overloaded"
            assert refused[0].headers["Retry-After"] == "1"


class TestGuesses:
    def test_an_address_of_many_wrong_keys_is_told_to_stop_and_right_ones_go_on(
        self, proxy: RunningProxy, ask: Ask
    ) -> None:
        statuses: Counter[int] = Counter()
        with proxy.session() as session:  # one connection, so one worker
            for _ in range(MOST_A_MINUTE + 3):
                session.headers["Authorization"] = f"Bearer {uuid.uuid4()}"
                answer = session.get(f"{proxy.url}/v1/models")
                statuses[answer.status_code] += 1
            assert statuses == {401: MOST_A_MINUTE, 429: 3}
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
            session.headers["Authorization"] = f"Bearer {proxy.key}"
            assert session.get(f"{proxy.url}/v1/models").status_code == 200
            del session.headers["Authorization"]
            assert session.get(f"{proxy.url}/v1/models").status_code == 401
