"""What state the models are in, and what each of SageMaker's states means for their clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from proxy.checks.finding import Finding, failed, ok, warning
from proxy.checks.permissions import choose
from proxy.config import ModelConfig
from proxy.control_plane import Deployment, Endpoint

_SERVING = "InService"
_CHANGING = frozenset({"Updating", "SystemUpdating", "RollingBack"})
_COMING = "Creating"


def check_models(
    client: Any,
    deployments: Iterable[Deployment],
    aliases: Mapping[str, ModelConfig],
    offers: Callable[[str], bool],
    whole: bool,
) -> list[Finding]:
    """How many are in service; and those that are not, or are asleep, one by one.

    ``offers`` tells which deployments clients may name themselves, and ``whole`` whether inference
    components are among those given.
    """
    named = needed(aliases)
    there = [each for each in deployments if each.name in named or offers(each.name)]
    known = {name: each for name, each in aliases.items() if whole or not each.inference_component}
    findings = judge_aliases(known, [each.name for each in there])
    if not there:
        to_do = "look whether the region, and catalog.include and exclude, are those you mean"
        return [*findings, warning("there is no endpoint that clients may call", to_do)]
    awake = [each for each in there if each.status == _SERVING]
    others = [each for each in there if each.status != _SERVING]
    findings.append(ok(f"{len(awake)} of {len(there)} are in service"))
    findings += [
        judge_state(each, each.name in named, _reason(client, each))
        for each in choose(others, named)
    ]
    findings += [
        ok(f"{each.name} is asleep, at zero instances: the first call wakes it and waits for it")
        for each in choose(awake, named)
        if is_asleep(_description(client, each))
    ]
    return findings


def needed(aliases: Mapping[str, ModelConfig]) -> dict[str, str]:
    """The deployments that the settings name, each with the alias that does."""
    return {deployment_of(alias): name for name, alias in aliases.items()}


def deployment_of(alias: ModelConfig) -> str:
    """What the alias stands for: an endpoint, or one of its inference components."""
    component = alias.inference_component
    return f"{alias.endpoint}/{component}" if component else alias.endpoint


def judge_aliases(aliases: Mapping[str, ModelConfig], there: Iterable[str]) -> list[Finding]:
    """Those that stand for what is not there."""
    there = {*there}
    return [
        (warning if alias.fallbacks else failed)(
            f"the alias {name} stands for {deployment_of(alias)}, which does not exist",
            f"correct models.{name} in the settings; sagemaker-proxy models lists what there is",
        )
        for name, alias in aliases.items()
        if deployment_of(alias) not in there
    ]


def judge_state(deployment: Deployment, is_needed: bool, reason: str = "") -> Finding:
    """What a state other than InService means. An alias's own must serve; others need not.

    ``reason`` is SageMaker's.
    """
    name, status = deployment.name, deployment.status
    bad = failed if is_needed else warning
    why = f": {reason}" if reason else ""
    look = f"aws sagemaker describe-endpoint --endpoint-name {name.partition('/')[0]}"
    if status in _CHANGING:
        return ok(f"{name} is {status}: it serves meanwhile")
    if status == _COMING:
        found = f"{name} is {status}: calls wait for it, up to upstream.wake_timeout_seconds"
        return warning(found, "wait; it takes minutes")
    if status == "Deleting":
        return bad(f"{name} is {status}: calls fail soon", "let clients call another")
    return bad(f"{name} is {status}, and takes no calls{why}", f"{look}; update it or make it anew")


def is_asleep(description: Mapping[str, Any]) -> bool:
    """Whether what SageMaker describes has no instance, or no copy, to run on."""
    copies = description.get("RuntimeConfig", {}).get("CurrentCopyCount")
    instances = [
        each.get("CurrentInstanceCount") for each in description.get("ProductionVariants", ())
    ]
    return copies == 0 or (bool(instances) and all(count == 0 for count in instances))


def _reason(client: Any, deployment: Deployment) -> str:
    return str(_description(client, deployment).get("FailureReason", ""))


def _description(client: Any, deployment: Deployment) -> Mapping[str, Any]:
    """Empty where it may not be looked at, which another check tells of."""
    with suppress(ClientError, BotoCoreError, OSError):
        found: Mapping[str, Any] = (
            client.describe_endpoint(EndpointName=deployment.name)
            if isinstance(deployment, Endpoint)
            else client.describe_inference_component(InferenceComponentName=deployment.component)
        )
        return found
    return {}
