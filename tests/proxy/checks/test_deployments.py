"""Each of SageMaker's states is told by what it means for clients."""

from datetime import UTC, datetime

import pytest

from proxy.checks import deployments
from proxy.checks.finding import Verdict
from proxy.config import ModelConfig
from proxy.control_plane import Deployment, Endpoint, InferenceComponent

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def endpoint(status: str) -> Deployment:
    return Endpoint("blue", status, NOW, NOW)


@pytest.mark.parametrize(
    ("status", "needed", "verdict"),
    [
        ("Updating", True, Verdict.OK),
        ("SystemUpdating", True, Verdict.OK),
        ("RollingBack", True, Verdict.OK),
        ("Creating", True, Verdict.WARNING),
        ("OutOfService", True, Verdict.FAILED),
        ("Failed", True, Verdict.FAILED),
        ("UpdateRollbackFailed", True, Verdict.FAILED),
        ("Deleting", True, Verdict.FAILED),
        ("Failed", False, Verdict.WARNING),
        ("Deleting", False, Verdict.WARNING),
        ("OfTomorrow", True, Verdict.FAILED),
    ],
)
def test_what_the_settings_name_has_to_serve_and_others_need_not(
    status: str, needed: bool, verdict: Verdict
) -> None:
    finding = deployments.judge_state(endpoint(status), needed)
    assert finding.verdict is verdict
    assert finding.found.startswith(f"blue is {status}")


def test_sagemakers_reason_and_the_command_that_shows_more_are_told() -> None:
    component = InferenceComponent("small", "blue", "Failed", NOW, NOW)
    finding = deployments.judge_state(component, True, "no capacity")
    assert finding.found == "blue/small is Failed, and takes no calls: no capacity"
    assert "describe-endpoint --endpoint-name blue;" in finding.to_do


def test_an_alias_of_what_is_not_there_fails_unless_there_is_a_fallback() -> None:
    aliases = {
        "llama": ModelConfig(endpoint="blue", inference_component="small"),
        "other": ModelConfig(endpoint="gone", fallbacks=("blue",)),
        "fine": ModelConfig(endpoint="blue"),
    }
    llama, other = deployments.judge_aliases(aliases, ["blue"])
    assert llama.verdict is Verdict.FAILED
    assert llama.found == "the alias llama stands for blue/small, which does not exist"
    assert other.verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("description", "asleep"),
    [
        ({"RuntimeConfig": {"CurrentCopyCount": 0}}, True),
        ({"RuntimeConfig": {"CurrentCopyCount": 2}}, False),
        ({"ProductionVariants": [{"CurrentInstanceCount": 0}]}, True),
        (
            {"ProductionVariants": [{"CurrentInstanceCount": 0}, {"CurrentInstanceCount": 1}]},
            False,
        ),
        ({"ProductionVariants": [{"CurrentServerlessConfig": {}}]}, False),
        ({}, False),
    ],
)
def test_what_has_nothing_to_run_on_is_asleep(description: dict[str, object], asleep: bool) -> None:
    assert deployments.is_asleep(description) is asleep
