"""The targets by their names; each is a module whose ``check`` takes any bytes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

TARGETS = (
    "apis",
    "dialects",
    "eventstream",
    "forms",
    "http_request",
    "http_response",
    "routing",
    "settings",
    "sse",
)

CORPUS = Path(__file__).parent / "corpus"

# What a run keeps for the next one, and what has broken a promise.
KEPT = Path(__file__).parents[2] / ".fuzz"
FOUND = KEPT / "found"


def load(target: str) -> Callable[[bytes], None]:
    """What is called with an input; it raises if a promise is broken."""
    check: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.{target}").check
    return check


def seeds(target: str) -> list[Path]:
    """The inputs that are kept."""
    return sorted((CORPUS / target).iterdir())
