"""One model is called, with as little as can be: an empty JSON object, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from proxy.checks.deployments import deployment_of
from proxy.checks.finding import Finding, failed, ok, warning
from proxy.checks.refused import judge_refusal, read_error
from proxy.config import ModelConfig
from proxy.errors import ContainerError, CredentialsRefused, ModelNotReady, ProxyError, Throttled

_LOG = "look at the endpoint's log in CloudWatch: /aws/sagemaker/Endpoints/NAME"

PLAIN, STREAMED = "invoke_endpoint", "invoke_endpoint_with_response_stream"


def target(
    name: str, aliases: Mapping[str, ModelConfig], deployments: Iterable[str]
) -> dict[str, str] | None:
    """Which endpoint, or part of it, the model ``name`` is, in boto3's words, if there is one."""
    alias = aliases.get(name)
    deployment = deployment_of(alias) if alias else name
    if alias is None and name not in {*deployments}:
        return None
    endpoint, _, component = deployment.partition("/")
    found = {"EndpointName": endpoint}
    if component:
        found["InferenceComponentName"] = component
    if alias and alias.target_variant:
        found["TargetVariant"] = alias.target_variant
    return found


def unknown(name: str, there: Iterable[str]) -> Finding:
    """There is no such model to call."""
    return failed(f"there is no model {name}", f"there are: {', '.join(sorted(there)) or 'none'}")


def check_call(client: Any, operation: str, model: Mapping[str, str]) -> list[Finding]:
    """``client`` is boto3's ``sagemaker-runtime``; ``operation`` is PLAIN or STREAMED."""
    try:
        answer = getattr(client, operation)(**model, Body=b"{}", ContentType="application/json")
    except ClientError as exc:
        return [judge_answer(exc, model["EndpointName"])]
    except (BotoCoreError, OSError) as exc:
        return [failed(f"no answer: {exc}", _LOG)]
    answer["Body"].close()
    return [ok(f"{model['EndpointName']} answers")]


def judge_answer(exc: ClientError, endpoint: str) -> Finding:
    """What an error means: that a container refuses so little shows that it can be called."""
    error: ProxyError = read_error(exc, endpoint)
    if isinstance(error, ContainerError):
        return ok(f"{endpoint} answers, and refuses an empty JSON object ({error.status})")
    if isinstance(error, CredentialsRefused):
        return judge_refusal(exc)
    said = error.log_message or error.message
    if isinstance(error, ModelNotReady):
        to_do = "this call has begun to wake it; clients wait up to upstream.wake_timeout_seconds"
        return warning(f"{endpoint} is asleep or starting: {said}", to_do)
    if isinstance(error, Throttled):
        to_do = "wait, call it less, or give it more instances or a higher quota"
        return warning(f"{endpoint} is throttled: {said}", to_do)
    return failed(f"{endpoint} fails: {said}", _LOG)
