"""A server for the limits of several hosts answers, or what that it is away means is told."""

from pathlib import Path

import pytest

from proxy.checks.backend import check_backend
from proxy.checks.finding import Verdict
from proxy.config import LimitsConfig
from tests.integration.shared_counts import PASSWORD, CountsServer


def test_without_one_there_is_nothing_to_ask() -> None:
    assert check_backend(LimitsConfig())[0].verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    ("without", "verdict", "told"),
    [
        ("open", Verdict.WARNING, "each host counts for itself"),
        ("closed", Verdict.FAILED, "keys with limits are refused"),
    ],
)
def test_one_that_answers_and_one_that_is_away(
    tmp_path: Path, without: str, verdict: Verdict, told: str
) -> None:
    with CountsServer(tmp_path) as server:
        limits = LimitsConfig(backend=server.url, without_backend=without)
        (there,) = check_backend(limits)
    (away,) = check_backend(limits)
    assert (there.verdict, away.verdict) == (Verdict.OK, verdict)
    assert told in away.found
    assert PASSWORD not in there.found + away.found + away.to_do
