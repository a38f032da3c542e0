"""The tables: of what is to be reached, and of what each gateway does; Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmark.results import Results, Row
from tests.benchmark.targets import Verdict

# A heading, the figure, and how many digits behind the point.
_COLUMNS = (
    ("requests a second", "plain_per_second", 0),
    ("CPU µs a request", "plain_cpu_us", 0),
    ("added ms at half load, p50 / p99", "half", 2),
    ("first byte p50 / p99 ms", "first_byte", 2),
    ("CPU µs a chunk, 10 ms apart", "paced_cpu_us", 1),
    ("chunk late p50 / p99 ms", "paced_delay", 2),
    ("gap p99 ms", "paced_gap_p99_ms", 1),
    ("CPU µs a chunk, fast", "fast_cpu_us", 1),
    ("fast chunks a second", "fast_chunks_per_second", 0),
    ("delivered of 500 streams", "many_delivered", 2),
    ("MB idle", "idle_pss_mb", 0),
    ("MB 500 streams", "many_pss_mb", 0),
    ("MB 2,000 streams", "most_pss_mb", 0),
    ("handshakes a second", "handshakes_per_second", 0),
    ("CPU µs a handshake", "handshake_cpu_us", 0),
)
_PAIRS = {
    "half": ("half_added_p50_ms", "half_added_p99_ms"),
    "first_byte": ("first_byte_p50_ms", "first_byte_p99_ms"),
    "paced_delay": ("paced_delay_p50_ms", "paced_delay_p99_ms"),
}

# By what others are compared with ours: requests a second, so many times theirs.
_COMPARED = "plain_per_second"
_BUSY_SHARE = 0.93
_STOLEN_SHARE = 0.005


def markdown(results: Results, verdicts: Sequence[Verdict]) -> str:
    """Everything that a reader wants to see of a run."""
    about = results.about
    parts = [
        f"Measured on {about.get('date')} on {about.get('machine')}, Python "
        f"{about.get('python')}; {about.get('plan')}.",
        _verdicts(verdicts),
        _ratios(results),
        _gateways(results),
    ]
    parts += [_growth(name, points) for name, points in results.growth.items()]
    if notes := _notes(results):
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 0) -> str:
    """A figure as a reader wants it: "-" if it is not there."""
    return "-" if value is None else f"{value:,.{digits}f}"


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for verdict in verdicts:
        target = verdict.target
        unit = f" {target.unit}" if target.unit else ""
        least = "-" if target.least is None else f"{target.least:g}{unit}"
        if target.least == 1e6:
            least = "served"
        value = verdict.value
        shown = "-" if value is None else "not served" if value == float("inf") else f"{value:.3g}"
        rows.append([target.figure, f"{shown}{unit}", least, f"{target.aim:g}{unit}", verdict.text])
    return table(["figure", "measured", "at least", "aim", "verdict"], rows)


def _ratios(results: Results) -> str:
    """Ours against each other gateway that speaks as it does: with TLS, or without."""
    rows = []
    for row in results.rows.values():
        ours = "ours" if row.tls else "ours-plain"
        if row.name.startswith("ours"):
            continue
        if row.missing:
            rows.append([row.title, "missing: " + row.missing.replace("|", "/"), "", ""])
            continue
        cells = [row.title]
        for figure in (_COMPARED, "plain_cpu_us", "paced_cpu_us"):
            found = results.ratio(figure, ours, row.name)
            cells.append(
                "-"
                if found is None
                else f"{found.median:.3g} ({found.low:.3g} to {found.high:.3g})"
            )
        rows.append(cells)
    head = ["ours against", "requests a second", "CPU a request", "CPU a chunk, 10 ms apart"]
    return table(head, rows)


def _gateways(results: Results) -> str:
    head = ["gateway", *(heading for heading, _, _ in _COLUMNS)]
    rows = []
    for row in results.rows.values():
        if row.missing:
            rows.append([row.title, "missing", *[""] * (len(_COLUMNS) - 1)])
        elif "plain_per_second" in row.figures or row.problems:
            rows.append(
                [row.title, *(_cell(row, figure, digits) for _, figure, digits in _COLUMNS)]
            )
    return table(head, rows)


def _cell(row: Row, figure: str, digits: int) -> str:
    if figure in _PAIRS:
        pair = [row.summary(each) for each in _PAIRS[figure]]
        return " / ".join(number(each.median if each else None, digits) for each in pair)
    found = row.summary(figure)
    if found is None:
        return "-"
    spread = f" ±{found.spread / 2:.0%}" if found.rounds > 1 else ""
    return number(found.median, digits) + spread


def _growth(name: str, points: Sequence[dict[str, float]]) -> str:
    head = list(points[0]) if points else []
    rows = [[_growth_cell(point[each]) for each in head] for point in points]
    return f"{name}\n\n" + table(head, rows)


def _growth_cell(value: float) -> str:
    return number(value, 0 if value >= 100 or value == int(value) else 2)


def _notes(results: Results) -> list[str]:
    notes = []
    if (stolen := results.about.get("stolen_share", 0.0)) > _STOLEN_SHARE:
        notes.append(f"The host of this machine took {stolen:.1%} of its time for others.")
    for row in results.rows.values():
        notes += [f"{row.title}: {name} failed: {why}" for name, why in row.problems.items()]
        load, own = row.summary("plain_load_share"), row.summary("plain_gateway_share")
        if load and own and own.median < _BUSY_SHARE:
            limit = (
                "what called it was at its limit"
                if load.median > _BUSY_SHARE
                else "other programs used the machine"
            )
            notes.append(
                f"{row.title}: had {own.median:.0%} of its core, for {limit}; it can do more "
                "requests a second than are shown. Its CPU a request holds."
            )
    return notes
