"""Three hosts answer more than one, each with the same share of a processor, at a like cost."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.benchmark.quota import capped
from tests.fleet.conftest import NAMES
from tests.fleet.fleet import Fleet
from tests.provisioning.service import Service

pytestmark = pytest.mark.timeout(600, func_only=True)

# Small, so that clients, balancer and models have the rest of two processors.
_SHARE = 0.1
_CLIENTS = 12
_SECONDS = 8.0


def worker(service: Service) -> int:
    """The process that serves on a host, by its number on this machine."""
    group = service.host.control_group / "machine"
    for file in group.rglob("cgroup.procs"):
        for pid in file.read_text().split():
            if b"proxy.server" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    raise AssertionError(f"{service.host.name} has no worker")


def cpu_seconds(pid: int) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def answered(fleet: Fleet, *names: str) -> int:
    """How many requests these hosts answer in a while, each client on a connection of its own."""
    fleet.balancer.only(*names)
    end = time.monotonic() + _SECONDS

    def client(session: requests.Session) -> int:
        count = 0
        while time.monotonic() < end:
            body = {"model": "demo-echo"}
            answer = session.post(f"{fleet.url}/predict", json=body, timeout=60)
            assert answer.status_code == 200
            count += 1
        return count

    sessions = [fleet.session() for _ in range(_CLIENTS)]
    try:
        with ThreadPoolExecutor(_CLIENTS) as pool:
            return sum(pool.map(client, sessions))
    finally:
        for session in sessions:
            session.close()
        fleet.balancer.only(*NAMES)


def test_three_hosts_answer_more_than_one_and_a_request_costs_about_the_same(fleet: Fleet) -> None:
    fleet.balancer.wait_for(len(NAMES))
    workers = [worker(service) for service in fleet.services.values()]
    used = []
    with capped(workers, _SHARE):
        used.append(sum(map(cpu_seconds, workers)))
        one = answered(fleet, NAMES[0])
        used.append(sum(map(cpu_seconds, workers)))
        three = answered(fleet, *NAMES)
        used.append(sum(map(cpu_seconds, workers)))
    each = [1000 * (used[1] - used[0]) / one, 1000 * (used[2] - used[1]) / three]
    print(
        f"one {one}, three {three}: {three / one:.2f} times; "
        f"{each[0]:.2f} and {each[1]:.2f} ms of CPU a request"
    )
    # With three, those who call them are the bound: so what a request costs is looked at, too.
    assert three > 1.4 * one
    assert each[1] < 2 * each[0]
