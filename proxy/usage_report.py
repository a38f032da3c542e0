"""``sagemaker-proxy usage``: what each key has used, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from proxy.columns import format_rows
from proxy.progress import Progress
from proxy.usage import Usage

_HEADINGS = ("KEY", "MODEL", "REQUESTS", "FAILED", "PROMPT TOKENS", "COMPLETION TOKENS")

# To look at the clock for each would take longer than to read it.
_LINES = 2000


def add_up(
    lines: Iterable[bytes], since: datetime | None, until: datetime | None, progress: Progress
) -> Usage:
    """The usage that the lines of a log tell of. Raises what ``lines`` raises."""
    usage = Usage(since, until)
    try:
        for number, line in enumerate(lines):
            usage.take(line)
            if number % _LINES == 0:
                progress.tell(f"{number:,} lines read, up to {usage.last or 'no request yet'}")
    finally:
        progress.end()
    return usage


def as_table(usage: Usage) -> str:
    """A line for each key and model, and one for all."""
    if not usage.by_key_and_model:
        return "The log has no requests to models in this period."
    rows: list[tuple[str | int, ...]] = [
        (key, model, *asdict(use).values())
        for (key, model), use in sorted(usage.by_key_and_model.items())
    ]
    rows.append(("total", "", *asdict(usage.total()).values()))
    return f"From {usage.first} to {usage.last}\n\n{format_rows(_HEADINGS, rows)}"


def as_json(usage: Usage) -> str:
    """The same for programs."""
    return json.dumps(
        {
            "first": usage.first,
            "last": usage.last,
            "usage": [
                {"key": key, "model": model, **asdict(use)}
                for (key, model), use in sorted(usage.by_key_and_model.items())
            ],
            "total": asdict(usage.total()),
        },
        indent=2,
    )
