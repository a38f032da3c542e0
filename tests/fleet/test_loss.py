"""A host that dies takes the requests with it that it had, and no others."""

import pytest

from tests.fleet.conftest import NAMES
from tests.fleet.fleet import Fleet, wait_until
from tests.provisioning.load import Load

pytestmark = [
    pytest.mark.timeout(600, func_only=True),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_only_what_it_had_under_way_is_lost_and_who_asks_again_is_answered(fleet: Fleet) -> None:
    fleet.balancer.wait_for(len(NAMES))
    with Load(fleet, callers=12, streams=30) as load:
        connections = fleet.balancer.connections()
        fleet.services["two"].host.lose_power()
        # Each client asks again at once, and goes on.
        answered = load.counts.answered
        wait_until(lambda: load.counts.answered > answered + 30, 60, "nobody is answered")
        fleet.balancer.wait_for(len(NAMES))  # it is back
    lost = len(load.counts.cut) + len(load.counts.failed)
    print(f"lost {lost} of {sum(connections.values())}; {connections}")
    assert load.counts.refused == []
    assert 0 < lost <= connections["two"]
    assert load.counts.streamed >= 30 - len(load.counts.cut)
