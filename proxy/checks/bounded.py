"""Runs checks one after the other, each within a bound of time, whatever it hangs at."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import NamedTuple, TextIO

from proxy.checks.finding import Check, Finding, failed
from proxy.progress import Progress

SECONDS = 15.0
_LOOK_SECONDS = 0.1


class Line(NamedTuple):
    """A finding, and the name of the check whose it is."""

    check: str
    finding: Finding


def run(
    checks: Iterable[tuple[str, Check]], terminal: TextIO, seconds: float = SECONDS
) -> list[Line]:
    """Every finding of the checks, in their order; ``terminal`` is told of one that takes long.

    ``seconds`` is for each of them. One that takes longer is left behind in its thread, which does
    not keep the process from ending.
    """
    return [
        Line(name, finding)
        for name, check in checks
        for finding in _bounded(name, check, terminal, seconds)
    ]


def _bounded(name: str, check: Check, terminal: TextIO, seconds: float) -> list[Finding]:
    findings: list[Finding] = []
    ended = threading.Event()

    def work() -> None:
        try:
            findings.extend(check())
        except Exception as exc:  # the others have their turn all the same
            findings.append(failed(f"{type(exc).__name__}: {exc}", "this check itself is at fault"))
        ended.set()

    threading.Thread(target=work, name=name, daemon=True).start()
    progress = Progress(terminal)
    deadline = time.monotonic() + seconds
    while not ended.wait(_LOOK_SECONDS) and (left := deadline - time.monotonic()) > 0:
        progress.tell(f"{name}: waiting for an answer, for {left:.0f} seconds more")
    progress.end()
    if ended.is_set():
        return findings
    return [failed(f"no answer within {seconds:g} seconds", "look at the network of this host")]
