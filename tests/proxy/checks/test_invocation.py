"""A call of a model tells whether it can be called, whatever its container makes of so little."""

from typing import Any

import pytest

from proxy.checks import invocation
from proxy.checks.finding import Verdict
from proxy.config import ModelConfig
from tests.proxy.checks.errors import DENIED, client_error

ALIASES = {
    "llama": ModelConfig(endpoint="blue", inference_component="small", target_variant="canary")
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "llama",
            {
                "EndpointName": "blue",
                "InferenceComponentName": "small",
                "TargetVariant": "canary",
            },
        ),
        ("blue", {"EndpointName": "blue"}),
        ("blue/small", {"EndpointName": "blue", "InferenceComponentName": "small"}),
        ("green", None),
    ],
)
def test_a_model_is_called_by_its_parts(name: str, expected: dict[str, str] | None) -> None:
    assert invocation.target(name, ALIASES, ["blue", "blue/small"]) == expected


def test_one_that_is_not_there_is_told_with_those_that_are() -> None:
    assert invocation.unknown("lama", ["llama", "blue"]).to_do == "there are: blue, llama"


@pytest.mark.parametrize(
    ("status", "verdict", "told"),
    [(400, Verdict.OK, "refuses an empty JSON object (400)"), (500, Verdict.FAILED, "its log:")],
)
def test_that_the_container_refuses_shows_that_it_can_be_called(
    status: int, verdict: Verdict, told: str
) -> None:
    more: dict[str, Any] = {
        "OriginalStatusCode": status,
        "OriginalMessage": "no",
        "LogStreamArn": "arn:aws:logs",
    }
    finding = invocation.judge_answer(client_error("ModelError", "m", 424, **more), "blue")
    assert finding.verdict is verdict
    assert told in finding.found


@pytest.mark.parametrize(
    ("code", "message", "verdict", "told"),
    [
        ("AccessDeniedException", DENIED, Verdict.FAILED, "lacks the IAM action"),
        ("ThrottlingException", "Rate exceeded", Verdict.WARNING, "blue is throttled"),
        ("ValidationError", "has no capacity to process", Verdict.WARNING, "asleep or starting"),
        ("ValidationError", "Endpoint blue of account 1 not found.", Verdict.FAILED, "not exist"),
    ],
)
def test_each_error_is_told(code: str, message: str, verdict: Verdict, told: str) -> None:
    finding = invocation.judge_answer(client_error(code, message), "blue")
    assert finding.verdict is verdict
    assert told in finding.found
