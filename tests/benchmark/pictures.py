"""The pictures of a run: what a request and a chunk cost, how late answers are, what grows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.benchmark.results import Results, Row
from tests.benchmark.svg import Bar, Curve, Panel, bars, curves, picture

_BARS = (
    ("CPU µs a request (600 bytes, 16 connections)", "plain_cpu_us"),
    ("CPU µs a chunk (64 streams, 10 ms apart)", "paced_cpu_us"),
    ("MB with 500 open streams (PSS, all processes)", "many_pss_mb"),
)

# A latency curve's x axis is one over the share that is slower.
_PERCENTILES = {50: "50 %", 75: "", 90: "90 %", 95: "", 99: "99 %", 99.5: "", 99.9: "99.9 %"}


def write(results: Results, directory: Path) -> None:
    """Draw what was measured, into `bars.svg`, `latency.svg` and `growth.svg`."""
    rows = [row for row in results.rows.values() if not row.missing]
    (directory / "bars.svg").write_text(picture([_bars(*each, rows) for each in _BARS]))
    latency = _latency(rows)
    if latency.height:
        (directory / "latency.svg").write_text(picture([latency]))
    growth = _growth(results.growth)
    if growth.height:
        (directory / "growth.svg").write_text(picture([growth]))


def _bars(title: str, figure: str, rows: Sequence[Row]) -> Panel:
    items = []
    for row in rows:
        found = row.summary(figure)
        if found and found.median > 0:
            text = f"{found.median:,.0f}" if found.median >= 100 else f"{found.median:.1f}"
            items.append(Bar(row.title, found.median, text, row.name.startswith("ours")))
    return bars(title, sorted(items, key=lambda item: item.value))


def _latency(rows: Sequence[Row]) -> Panel:
    items = []
    for row in rows:
        points = []
        for percent in _PERCENTILES:
            found = row.summary(f"half_p{percent:g}_ms")
            if found and found.median > 0:
                points.append((1 / (1 - percent / 100), found.median))
        if points:
            items.append(Curve(row.title, points, dashed=not row.tls))
    ticks = {1 / (1 - percent / 100): label for percent, label in _PERCENTILES.items()}
    return curves(
        "How long an answer takes, each gateway at half of what it can do",
        *("share of answers that are faster", "ms"),
        items,
        ticks,
    )


def _growth(growth: dict[str, list[dict[str, float]]]) -> Panel:
    """A curve for each number that may grow, if it was told what a request costs then."""
    items = []
    for name, points in growth.items():
        line = [(point[name], point["CPU µs"]) for point in points if name in point]
        if len(line) > 1:
            items.append(Curve(name, line))
    ticks = {10.0**power: f"{10**power:,}" for power in range(6)}
    return curves("CPU µs a request of ours", "how many there are", "µs", items, ticks)
