"""What a run has measured, and its file of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmark.samples import Summary, ratio, summarize


@dataclass
class Row:
    """One gateway: its figures by name and round, or why there are none."""

    name: str
    title: str
    tls: bool
    missing: str = ""  # why it could not be installed or started
    problems: dict[str, str] = field(default_factory=dict)  # by measure
    figures: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, round_number: int, figures: Mapping[str, float]) -> None:
        """Add what one round of one measure came to."""
        for name, value in figures.items():
            self.figures.setdefault(name, {})[round_number] = value

    def summary(self, figure: str) -> Summary | None:
        """Sum up a figure; None if no round has it."""
        rounds = self.figures.get(figure)
        return summarize(list(rounds.values())) if rounds else None


@dataclass
class Results:
    """All rows by name, and what they were measured on."""

    about: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    growth: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def value(self, row: str, figure: str) -> float | None:
        """The median of a figure; None if it was not measured."""
        found = self.rows[row].summary(figure) if row in self.rows else None
        return found.median if found else None

    def ratio(self, figure: str, ours: str, theirs: str) -> Summary | None:
        """How many times theirs ours is; None if one was not measured."""
        if ours not in self.rows or theirs not in self.rows:
            return None
        return ratio(
            self.rows[ours].figures.get(figure, {}), self.rows[theirs].figures.get(figure, {})
        )

    def write(self, path: Path, verdicts: list[dict[str, Any]]) -> None:
        """Write everything, the verdicts as well."""
        gateways = {
            name: {
                "title": row.title,
                "tls": row.tls,
                "missing": row.missing,
                "problems": row.problems,
                "figures": {
                    figure: asdict(summarize(list(rounds.values())))
                    | {"each": [rounds[number] for number in sorted(rounds)]}
                    for figure, rounds in sorted(row.figures.items())
                },
            }
            for name, row in self.rows.items()
        }
        document = {
            "about": self.about,
            "verdicts": verdicts,
            "gateways": gateways,
            "growth": self.growth,
        }
        path.write_text(json.dumps(document, indent=1) + "\n")
