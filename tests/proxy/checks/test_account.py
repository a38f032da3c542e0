"""Credentials, network and clock are judged by what AWS and botocore say of them."""

import socket
import ssl

import pytest

from proxy.checks import account
from proxy.checks.finding import Verdict


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("env", "from environment variables"),
        ("iam-role", "from the instance's role (metadata service)"),
        ("shared-credentials-file", "from the credentials file, profile dev"),
        ("of-tomorrow", "from of-tomorrow"),
    ],
)
def test_where_credentials_come_from_is_told(method: str, told: str) -> None:
    finding = account.judge_credentials(method, "dev", None, 0)
    assert finding.verdict is Verdict.OK
    assert finding.found == f"{told}; they do not end"


def test_credentials_that_have_ended_are_a_failure() -> None:
    assert account.judge_credentials("iam-role", "", 1000, 999).verdict is Verdict.OK
    finding = account.judge_credentials("iam-role", "", 1000, 1000)
    assert finding.verdict is Verdict.FAILED
    assert "they ended at 1970-01-01 00:16:40 UTC" in finding.found


@pytest.mark.parametrize(
    ("ahead", "verdict", "told"),
    [
        (0.4, Verdict.OK, "0 seconds ahead of AWS's"),
        (-29, Verdict.OK, "29 seconds behind AWS's"),
        (-60, Verdict.WARNING, "60 seconds behind AWS's"),
        (300, Verdict.FAILED, "300 seconds ahead of AWS's: AWS refuses signatures"),
    ],
)
def test_a_clock_that_is_off_is_told(ahead: float, verdict: Verdict, told: str) -> None:
    finding = account.judge_clock(ahead)
    assert finding.verdict is verdict
    assert finding.found.startswith(told)


@pytest.mark.parametrize(
    ("problem", "told", "to_do"),
    [
        (socket.gaierror(-2, "Name or service not known"), "cannot be resolved", "resolvectl"),
        (TimeoutError("timed out"), "no answer within 5 seconds", "security group"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused", "curl"),
        (ssl.SSLCertVerificationError(1, "bad"), "is not trusted", "AWS_CA_BUNDLE"),
    ],
)
def test_what_is_in_the_way_is_told(problem: Exception, told: str, to_do: str) -> None:
    if isinstance(problem, ssl.SSLCertVerificationError):
        problem.verify_message = "self-signed certificate"
    finding = account.judge_unreachable("https://runtime.example.com", problem)
    assert finding.verdict is Verdict.FAILED
    assert told in finding.found
    assert "runtime.example.com" in finding.found
    assert to_do in finding.to_do
