"""site.yml goes over the hosts one by one, and no client notices, be it well or not."""

from pathlib import Path
from typing import Any

import pytest

from tests.fleet.balancer import NOTED_SECONDS, Watch
from tests.fleet.conftest import NAMES
from tests.fleet.fleet import Fleet
from tests.provisioning.load import Load
from tests.provisioning.test_operation import copy_of_the_code

pytestmark = [
    pytest.mark.timeout(900, func_only=True),
    # An aiohttp client whose server closes in the middle of TLS leaves its socket to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def leaving(tmp_path: Path) -> dict[str, Any]:
    """What has a host leave the balancer, and a release that needs no wheels."""
    return {"proxy_leave_seconds": NOTED_SECONDS}


def test_there_is_nothing_left_to_change(fleet: Fleet, leaving: dict[str, Any]) -> None:
    with Watch(fleet.balancer) as watch:
        assert fleet.play(**leaving).changed_tasks == []
    assert watch.out == []


def test_an_upgrade_that_restarts_every_host_drops_nothing(
    fleet: Fleet, leaving: dict[str, Any], tmp_path: Path
) -> None:
    source = copy_of_the_code(tmp_path, "9.0.0")
    changed = "{{ environments[inventory_hostname] | combine({'ADDED': '1'}) }}"
    with Load(fleet) as load, Watch(fleet.balancer) as watch:
        outcome = fleet.play(**leaving, proxy_source=str(source), proxy_environment=changed)
        answered = load.counts.answered
    print(f"answered {answered}, streamed {load.counts.streamed}, {outcome.seconds:.0f} s")
    assert (load.counts.failed, load.counts.refused, load.counts.cut) == ([], [], [])
    assert load.counts.streamed >= 100
    assert watch.out == [{name} for name in NAMES]
    assert set(fleet.releases().values()) == {"9.0.0"}


def test_a_release_that_is_not_ready_ends_the_roll_at_the_first_host(
    fleet: Fleet, leaving: dict[str, Any], tmp_path: Path
) -> None:
    before = fleet.releases()
    source = copy_of_the_code(tmp_path, "9.1.0")
    health = source / "proxy" / "handlers" / "health.py"
    health.write_text(
        health.read_text().replace("services.state.draining,", "not services.state.draining,")
    )
    with Load(fleet, callers=8, streams=10) as load, Watch(fleet.balancer) as watch:
        outcome = fleet.play(ok=False, **leaving, proxy_source=str(source))
    assert "The service is not ready: the server is shutting down" in outcome.output
    assert (load.counts.failed, load.counts.refused, load.counts.cut) == ([], [], [])
    assert (outcome.rescued, outcome.failed) == (1, 1)
    assert watch.out == [{NAMES[0]}]
    assert fleet.releases() == before
    fleet.balancer.wait_for(len(NAMES))
