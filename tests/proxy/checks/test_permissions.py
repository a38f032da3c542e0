"""Where there are too many models to describe them all, those that are needed come first."""

from datetime import UTC, datetime

from proxy.checks.finding import warning
from proxy.checks.permissions import MOST_DESCRIBED, choose, gather
from proxy.control_plane import Endpoint

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def test_of_refusals_of_the_same_action_one_is_told() -> None:
    findings = gather(
        [
            warning("lacks sagemaker:DescribeModel on arn:a", "allow it"),
            warning("lacks sagemaker:DescribeEndpoint on arn:a", "allow it"),
            warning("lacks sagemaker:DescribeModel on arn:b", "allow it"),
        ]
    )
    assert [finding.found for finding in findings] == [
        "lacks sagemaker:DescribeModel on arn:a (and 1 more)",
        "lacks sagemaker:DescribeEndpoint on arn:a",
    ]


def test_what_is_needed_is_chosen() -> None:
    there = [Endpoint(f"endpoint-{number}", "InService", NOW, NOW) for number in range(100)]
    chosen = choose(there, ["endpoint-99"])
    assert len(chosen) == MOST_DESCRIBED
    assert [each.name for each in chosen[:2]] == ["endpoint-99", "endpoint-0"]
