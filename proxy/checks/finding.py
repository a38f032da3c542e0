"""What a check has found, and what its reader is to do about it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works, but not all of it, or not for long
    FAILED = "failed"
    SKIPPED = "skipped"  # nothing can be said


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the report. ``to_do`` is empty where there is nothing to do."""

    verdict: Verdict
    found: str
    to_do: str = ""


Check = Callable[[], list[Finding]]


def ok(found: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, found)


def warning(found: str, to_do: str) -> Finding:
    """It works, but not all of it, or not for long."""
    return Finding(Verdict.WARNING, found, to_do)


def failed(found: str, to_do: str) -> Finding:
    """Something does not work."""
    return Finding(Verdict.FAILED, found, to_do)


def skipped(why: str, to_do: str = "") -> Finding:
    """Nothing can be said, and why."""
    return Finding(Verdict.SKIPPED, why, to_do)
