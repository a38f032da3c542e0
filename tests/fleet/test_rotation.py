"""rotate_keys.yml gives every host the new key, and no request fails meanwhile."""

import pytest

from tests.fleet.conftest import NAMES
from tests.fleet.fleet import Fleet
from tests.provisioning.load import Load

pytestmark = [
    pytest.mark.timeout(600, func_only=True),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def statuses(fleet: Fleet, key: str) -> set[int]:
    """What each host answers to a key."""
    with fleet.session(key) as session:
        hosts = [service.url for service in fleet.services.values()]
        return {session.get(f"{url}/v1/models", timeout=60).status_code for url in hosts}


def test_the_old_key_goes_on_beside_the_new_one_on_every_host(fleet: Fleet) -> None:
    fleet.balancer.wait_for(len(NAMES))
    old = fleet.key
    with Load(fleet, callers=12, streams=10) as load:
        outcome = fleet.play("rotate_keys.yml")
        new = fleet.key
        assert new != old
        assert (statuses(fleet, new), statuses(fleet, old)) == ({200}, {200})
    assert (load.counts.failed, load.counts.refused, load.counts.cut) == ([], [], [])
    assert load.counts.answered > 0
    assert not any(key in outcome.output for key in (old, new))


def test_a_host_that_cannot_be_reached_stops_it_before_there_is_a_new_key(fleet: Fleet) -> None:
    old = fleet.key
    host = fleet.services["three"].host
    login = "/home/ec2-user/.ssh/authorized_keys"
    host.run(f"mv {login} {login}.kept")
    try:
        outcome = fleet.play("rotate_keys.yml", ok=False)
    finally:
        host.run(f"mv {login}.kept {login}")
    assert outcome.unreachable >= 1
    assert fleet.key == old
