"""The server that the keys' limits are counted on, where there is one for several hosts."""

from __future__ import annotations

from contextlib import closing

import valkey
from valkey.exceptions import ValkeyError

from proxy.checks.finding import Finding, failed, ok, skipped, warning
from proxy.config import LimitsConfig
from proxy.constraints import LOCAL
from proxy.tables import masked
from proxy.valkey_client import tls_options

_SECONDS = 3.0


def check_backend(limits: LimitsConfig) -> list[Finding]:
    """It answers, if one is configured."""
    if limits.backend == LOCAL:
        return [skipped("they are counted on this host alone")]
    try:
        with closing(
            valkey.Valkey.from_url(
                limits.backend,
                socket_connect_timeout=_SECONDS,
                socket_timeout=_SECONDS,
                **tls_options(limits.backend),
            )
        ) as server:
            server.ping()
    except (ValkeyError, OSError) as exc:
        return [judge_away(limits, str(exc))]
    return [ok(f"{masked(limits.backend)} answers")]


def judge_away(limits: LimitsConfig, reason: str) -> Finding:
    """What it means for clients that the server is away."""
    found = f"{masked(limits.backend)} is away: {reason}"
    to_do = "start it, or let this host reach it; or change limits.backend"
    if limits.without_backend == "closed":
        return failed(f"{found}; keys with limits are refused", to_do)
    return warning(f"{found}; each host counts for itself", to_do)
