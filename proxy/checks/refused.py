"""What a refusal of AWS's means for the one who runs the proxy, and what is to be done about it."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from proxy.checks.finding import Finding, Verdict
from proxy.errors import CredentialsRefused, ProxyError, Refusal, Throttled
from proxy.refusals import missing_permission, translate

_CLOCK = (
    "Signature expired",
    "Signature not yet current",
    "RequestTimeTooSkewed",
    "RequestExpired",
)
_ALLOW = "allow it in a policy of the role; what the proxy needs is in the README, Run it by hand"
_SET_CLOCK = "set this host's clock: timedatectl; systemctl restart chronyd"
_CREDENTIALS = "give valid credentials; which are used is told in the row above"
_THROTTLED = "wait; if it stays so, raise catalog.refresh_seconds or ask AWS for a higher quota"
_AGAIN = "try again; AWS tells of its troubles at https://health.aws.amazon.com"


def read_error(exc: ClientError, name: str = "") -> ProxyError:
    """The proxy's own error for what boto3 raised in a call, for the endpoint ``name`` if any."""
    answer: dict[str, Any] = exc.response
    error = answer.get("Error", {})
    code = str(error.get("Code", ""))
    fields = {key: value for key, value in answer.items() if key[:8] in ("Original", "LogStrea")}
    fields["message"] = error.get("Message") or ""
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return translate(Refusal(status, code, json.dumps(fields).encode()), name)[0]


def judge_refusal(exc: ClientError, verdict: Verdict = Verdict.FAILED) -> Finding:
    """What AWS refused; a missing permission by its action and resource."""
    error = read_error(exc)
    said = error.log_message or error.message
    if isinstance(error, Throttled):
        return Finding(verdict, said, _THROTTLED)
    if not isinstance(error, CredentialsRefused):
        return Finding(verdict, said, _AGAIN)
    if missing_permission(str(exc)):
        return Finding(verdict, said, _ALLOW)
    if any(each in said for each in _CLOCK):
        return Finding(verdict, said, _SET_CLOCK)
    if "AccessDenied" in said:  # which does not always say to what
        return Finding(verdict, f"{said} (to sagemaker:{exc.operation_name})", _ALLOW)
    return Finding(verdict, said, _CREDENTIALS)
