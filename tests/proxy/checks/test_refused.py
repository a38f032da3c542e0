"""A refusal of AWS's is told by what is missing, and what to do about it."""

import pytest

from proxy.checks.finding import Verdict
from proxy.checks.refused import judge_refusal
from tests.proxy.checks.errors import DENIED, client_error


def test_a_missing_permission_is_told_by_its_action_and_resource() -> None:
    finding = judge_refusal(client_error("AccessDeniedException", DENIED), Verdict.WARNING)
    assert finding.verdict is Verdict.WARNING
    assert finding.found == (
        "the proxy's role lacks the IAM action sagemaker:DescribeModel on "
        "arn:aws:sagemaker:us-east-1:123456789012:model/llama"
    )
    assert "policy of the role" in finding.to_do


def test_where_aws_does_not_say_which_action_it_was_the_call_tells() -> None:
    finding = judge_refusal(client_error("AccessDeniedException", "no"))
    assert "sagemaker:DescribeModel" in finding.found
    assert "policy of the role" in finding.to_do


@pytest.mark.parametrize(
    ("code", "message", "to_do"),
    [
        ("InvalidSignatureException", "Signature expired: 1 is now earlier than 2", "timedatectl"),
        ("InvalidSignatureException", "Signature not yet current: 1", "timedatectl"),
        ("InvalidSignatureException", "The request signature we calculated", "valid credentials"),
        ("ExpiredTokenException", "The security token is expired", "valid credentials"),
        ("ThrottlingException", "Rate exceeded", "refresh_seconds"),
        ("InternalFailure", "oh", "health.aws.amazon.com"),
    ],
)
def test_each_has_its_remedy(code: str, message: str, to_do: str) -> None:
    status = 500 if code == "InternalFailure" else 400
    finding = judge_refusal(client_error(code, message, status))
    assert finding.verdict is Verdict.FAILED
    assert code in finding.found
    assert to_do in finding.to_do
