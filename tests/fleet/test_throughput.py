"""Three hosts answer about three times as much as one, each with the same share of a processor."""

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


def test_three_hosts_answer_more_than_twice_what_one_does(fleet: Fleet) -> None:
    fleet.balancer.wait_for(len(NAMES))
    workers = [worker(service) for service in fleet.services.values()]
    with capped(workers, _SHARE):
        one = answered(fleet, NAMES[0])
        before = [cpu_seconds(pid) for pid in workers]
        three = answered(fleet, *NAMES)
        used = [cpu_seconds(pid) - begun for pid, begun in zip(workers, before, strict=True)]
    each = 1000 * sum(used) / three
    print(f"one {one}, three {three}: {three / one:.2f} times; {each:.2f} ms of CPU a request")
    assert three > 2 * one
