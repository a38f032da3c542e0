"""A key's limits hold over the hosts, and what is lost with the server that they count on."""

import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from proxy.keys import hash_key
from tests.fleet.conftest import NAMES
from tests.fleet.fleet import Fleet, wait_until
from tests.provisioning.service import Service

pytestmark = pytest.mark.timeout(600, func_only=True)

MOST = 100
FEW = 4
LIMITS = {"many": MOST, "cut": FEW, "closed": FEW, "restart": FEW}
KEYS = "/etc/sagemaker-proxy/keys.toml"
SETTINGS = "/etc/sagemaker-proxy/config.toml"


@pytest.fixture(scope="module")
def keys(fleet: Fleet) -> Iterator[dict[str, str]]:
    """Keys with limits, by name, that every host has."""
    keys = {name: str(uuid.uuid4()) for name in LIMITS}
    entries = "".join(
        f'\n[keys.{name}]\nsha256 = "{hash_key(key)}"\nrequests_per_minute = {LIMITS[name]}\n'
        for name, key in keys.items()
    )
    for service in fleet.services.values():
        service.host.run(f"cp -p {KEYS} /root/keys; cat >> {KEYS}", stdin=entries)
        service.host.run("systemctl reload sagemaker-proxy", timeout=120)
    yield keys
    for service in fleet.services.values():
        service.host.run(f"cp -p /root/keys {KEYS}; systemctl reload sagemaker-proxy", timeout=120)


def ask(fleet: Fleet, key: str, url: str | None = None) -> requests.Response:
    """Ask once, over a connection of its own, so that the balancer chooses anew."""
    with fleet.session(key) as session:
        body = {"model": "demo-echo"}
        return session.post(f"{url or fleet.url}/predict", json=body, timeout=60)


def said(service: Service, message: str) -> list[dict[str, object]]:
    """What a host's log says of the server of the counts."""
    return [entry for entry in service.journal() if entry["message"].endswith(message)]


def test_they_hold_over_three_hosts_within_five_percent(fleet: Fleet, keys: dict[str, str]) -> None:
    fleet.balancer.wait_for(len(NAMES))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(fleet, keys["many"]), range(MOST * 3 // 2)))
    counted = Counter(answer.status_code for answer in answers)
    print(counted)
    assert set(counted) == {200, 429}
    assert 0.95 * MOST <= counted[200] <= 1.05 * MOST


def test_a_host_that_is_cut_off_counts_for_itself_and_says_so_until_it_is_back(
    fleet: Fleet, keys: dict[str, str]
) -> None:
    for _ in range(FEW):
        assert ask(fleet, keys["cut"]).status_code == 200
    with fleet.cut_off("one") as service:
        wait_until(lambda: bool(said(service, "is away")), 30, "it does not notice")
        assert said(service, "is away")[-1]["choice"] == "each host counts for itself"
        own = [ask(fleet, keys["cut"], service.url).status_code for _ in range(FEW + 1)]
        assert own == [200] * FEW + [429]
        assert ask(fleet, keys["cut"], fleet.services["two"].url).status_code == 429
    wait_until(lambda: bool(said(service, "is back")), 30, "it does not heal")
    assert ask(fleet, keys["cut"], service.url).status_code == 429


def test_or_it_refuses_what_has_limits_if_so_configured(fleet: Fleet, keys: dict[str, str]) -> None:
    service = fleet.services["one"]
    kept, reload = "/root/settings", "systemctl reload sagemaker-proxy"
    closed = 's/without_backend = .*/without_backend = "closed"/'
    service.host.run(
        f"cp -p {SETTINGS} {kept}; sed -i '{closed}' {SETTINGS}; {reload}", timeout=120
    )
    try:
        assert ask(fleet, keys["closed"], service.url).status_code == 200
        with fleet.cut_off("one"):
            wait_until(
                lambda: ask(fleet, keys["closed"], service.url).status_code == 503,
                30,
                "it lets requests through",
            )
            assert ask(fleet, fleet.key, service.url).status_code == 200
        wait_until(
            lambda: ask(fleet, keys["closed"], service.url).status_code != 503,
            30,
            "it does not heal",
        )
    finally:
        service.host.run(f"cp -p {kept} {SETTINGS}; {reload}", timeout=120)


def test_a_restart_of_the_server_begins_the_minute_anew(fleet: Fleet, keys: dict[str, str]) -> None:
    assert [ask(fleet, keys["restart"]).status_code for _ in range(FEW)] == [200] * FEW
    assert ask(fleet, keys["restart"]).status_code == 429
    fleet.counts.kill()
    fleet.counts.start_again()

    def all_are_back() -> bool:
        answers = [ask(fleet, fleet.key, each.url) for each in fleet.services.values()]
        return all(answer.status_code == 200 for answer in answers) and all(
            len(said(each, "is away")) == len(said(each, "is back"))
            for each in fleet.services.values()
        )

    wait_until(all_are_back, 30, "a host has not found it again")
    answers = [ask(fleet, keys["restart"]) for _ in range(FEW + 1)]
    assert [answer.status_code for answer in answers] == [200] * FEW + [429]
