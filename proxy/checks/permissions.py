"""What the proxy's role may do, found out by doing it: list, and describe what is listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from proxy import control_plane
from proxy.checks.account import Account
from proxy.checks.finding import Finding, Verdict, failed, ok, skipped, warning
from proxy.checks.refused import judge_refusal
from proxy.control_plane import Deployment

# Described at most: enough to meet every action, and quick in an account with thousands.
MOST_DESCRIBED = 20

_UNREACHED = "let this host out to it by port 443; AWS_ENDPOINT_URL_SAGEMAKER says where it is"


class Permissions:
    """The checks that try; ``deployments`` are what there is, None while that is not known.

    ``whole`` tells whether inference components are among them.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self.deployments: list[Deployment] | None = None
        self.whole = False

    def check_listing(self) -> list[Finding]:
        """The role may list endpoints, which is needed, and inference components."""
        if not self._account.usable:
            return [skipped("there are no credentials")]
        client = self._account.client("sagemaker")
        try:
            endpoints = control_plane.list_endpoints(lambda: client)
        except ClientError as exc:
            return [judge_refusal(exc)]
        except (BotoCoreError, OSError) as exc:
            return [failed(f"the endpoints cannot be listed: {exc}", _UNREACHED)]
        self.deployments = [*endpoints]
        try:
            components = control_plane.list_inference_components(lambda: client)
        except ClientError as exc:
            return [judge_refusal(exc, Verdict.WARNING)]
        except (BotoCoreError, OSError) as exc:
            return [warning(f"the inference components cannot be listed: {exc}", _UNREACHED)]
        self.deployments += components
        self.whole = True
        return [
            ok(f"{len(endpoints)} endpoints and {len(components)} inference components are listed")
        ]

    def check_describing(self, needed: Iterable[str]) -> list[Finding]:
        """The role may describe what there is, by which the proxy tells how a container speaks.

        ``needed`` are the names of deployments to begin with.
        """
        if self.deployments is None:
            return [skipped("the endpoints could not be listed")]
        client = self._account.client("sagemaker")
        chosen = choose(self.deployments, needed)
        refusals = [finding for each in chosen if (finding := _describe(client, each))]
        if refusals:
            return gather(refusals)
        return [ok(f"{len(chosen)} of {len(self.deployments)} tried, and all can be described")]


def gather(refusals: Iterable[Finding]) -> list[Finding]:
    """One of those that tell of the same action, and how many there are."""
    alike: dict[str, list[Finding]] = {}
    for refusal in refusals:
        alike.setdefault(refusal.found.partition(" on arn:")[0], []).append(refusal)
    return [
        first if not more else replace(first, found=f"{first.found} (and {len(more)} more)")
        for first, *more in alike.values()
    ]


def choose(deployments: Sequence[Deployment], needed: Iterable[str]) -> list[Deployment]:
    """Those to look at, if there are too many for all: what is needed comes first."""
    first = {*needed}
    return sorted(deployments, key=lambda each: each.name not in first)[:MOST_DESCRIBED]


def _describe(client: Any, deployment: Deployment) -> Finding | None:
    try:
        control_plane.describe(lambda: client, deployment)
    except ClientError as exc:
        return judge_refusal(exc, Verdict.WARNING)
    except (BotoCoreError, OSError) as exc:
        return warning(f"{deployment.name} cannot be described: {exc}", _UNREACHED)
    return None
