"""Where there are too many models to describe them all, those that are needed come first."""

from datetime import UTC, datetime

from proxy.checks.permissions import MOST_DESCRIBED, choose
from proxy.control_plane import Endpoint

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_what_is_needed_is_chosen() -> None:
    there = [Endpoint(f"endpoint-{number}", "InService", NOW, NOW) for number in range(100)]
    chosen = choose(there, ["endpoint-99"])
    assert len(chosen) == MOST_DESCRIBED
    assert [each.name for each in chosen[:2]] == ["endpoint-99", "endpoint-0"]
