"""Which checks there are, in the order in which a call passes what they look at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TextIO

from proxy import startup
from proxy.catalog import Catalog
from proxy.checks import deployments, files, invocation, service
from proxy.checks.account import Account
from proxy.checks.backend import check_backend
from proxy.checks.bounded import Line, run
from proxy.checks.finding import Check, Finding, failed, ok, skipped
from proxy.checks.permissions import Permissions
from proxy.config import DEFAULT_PATH, Config
from proxy.models import Models
from proxy.startup import StartFailed


def look(path: str | None, invoke: str | None, terminal: TextIO) -> list[Line]:
    """Everything that is found. ``path`` is the settings' file, ``invoke`` a model to call.

    ``terminal`` is told of a check that takes long.
    """
    try:
        config = startup.load_config(path, {})
    except StartFailed as exc:
        lines = [Line("settings", judge_problem(each)) for each in str(exc).splitlines()]
        return [*lines, Line("all else", skipped("it depends on the settings"))]
    return [Line("settings", ok(_source(path))), *run(_checks(config, invoke), terminal)]


def judge_problem(problem: str) -> Finding:
    """What is wrong with the settings, or with who reads them."""
    if "Permission denied" in problem:
        return failed(problem, "run it as the service: sudo /opt/sagemaker-proxy/as-service check")
    return failed(problem, "correct the settings: sagemaker-proxy check-config")


def _source(path: str | None) -> str:
    if named := path or os.environ.get("SAGEMAKER_PROXY_CONFIG"):
        return f"{named} can be used"
    if DEFAULT_PATH.exists():
        return f"{DEFAULT_PATH} can be used"
    return "the defaults, for there is no file"


def _checks(config: Config, invoke: str | None) -> Iterator[tuple[str, Check]]:
    yield "keys", lambda: files.check_keys(config)
    yield "certificate", lambda: files.check_certificate(config)
    yield "disk", files.check_space
    yield "service", lambda: service.check_service(config)
    yield "open files", lambda: service.check_open_files(config)
    yield "outside", lambda: service.check_outside(config)
    yield "limits", lambda: check_backend(config.limits)
    account = Account(config.region)
    permissions = Permissions(account)
    yield "credentials", account.check_credentials
    yield "SageMaker", account.check_reach
    yield "clock", account.check_clock
    yield "identity", account.check_identity
    yield "may list", permissions.check_listing
    yield "may describe", lambda: permissions.check_describing(deployments.needed(config.models))
    yield "models", lambda: _models(config, account, permissions)
    if invoke is not None:
        yield "invoke", lambda: _invoke(config, account, permissions, invoke, invocation.PLAIN)
        yield "stream", lambda: _invoke(config, account, permissions, invoke, invocation.STREAMED)


def _models(config: Config, account: Account, permissions: Permissions) -> list[Finding]:
    if permissions.deployments is None:
        return [skipped("the endpoints could not be listed")]
    client = account.client("sagemaker")
    catalog = config.catalog
    models = Models(
        Catalog(lambda: client, catalog), config.models, catalog.include, catalog.exclude
    )
    return deployments.check_models(
        client, permissions.deployments, config.models, models.offers, permissions.whole
    )


def _invoke(
    config: Config, account: Account, permissions: Permissions, name: str, operation: str
) -> list[Finding]:
    if not account.usable:
        return [skipped("there are no credentials")]
    there = {each.name for each in permissions.deployments or ()}
    # Where they cannot be listed, it may be there all the same.
    known = {name} if permissions.deployments is None else there
    model = invocation.target(name, config.models, known)
    if model is None:
        return [invocation.unknown(name, {*there, *config.models})]
    return invocation.check_call(account.client("sagemaker-runtime"), operation, model)
