"""The findings as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from proxy.checks.bounded import Line
from proxy.checks.finding import Verdict
from proxy.columns import format_rows

_HEADINGS = ("CHECK", "RESULT", "FOUND", "WHAT TO DO")
_LEAST_WIDTH = 20


def as_table(lines: Sequence[Line], width: int | None = None) -> str:
    """A row for each finding; with a ``width`` in characters, its longer texts are broken to it."""
    rows = [
        (line.check, line.finding.verdict.value, line.finding.found, line.finding.to_do)
        for line in lines
    ]
    return format_rows(_HEADINGS, rows if width is None else _broken(rows, width))


def as_json(lines: Iterable[Line]) -> str:
    """The same for programs."""
    return json.dumps(
        [
            {
                "check": line.check,
                "result": line.finding.verdict.value,
                "found": line.finding.found,
                "to_do": line.finding.to_do,
            }
            for line in lines
        ],
        indent=2,
    )


def status(lines: Iterable[Line]) -> int:
    """The exit status: 1 if anything failed."""
    return int(any(line.finding.verdict is Verdict.FAILED for line in lines))


def _broken(rows: Sequence[tuple[str, str, str, str]], width: int) -> list[tuple[str, ...]]:
    """The rows with their last two cells broken, so that each is as many rows as it takes."""
    shown = (_HEADINGS, *rows)
    first = max(len(row[0]) for row in shown) + max(len(row[1]) for row in shown) + 6
    half = max((width - first) // 2, _LEAST_WIDTH)
    broken: list[tuple[str, ...]] = []
    for check, verdict, found, to_do in rows:
        cells = ([check], [verdict], _wrap(found, half), _wrap(to_do, half))
        broken += zip_longest(*cells, fillvalue="")
    return broken


def _wrap(text: str, width: int) -> list[str]:
    # Names, paths and commands stay whole, so that they can be copied.
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
