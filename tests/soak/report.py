"""The tables at the end of a soak."""

from collections.abc import Iterable, Iterator, Sequence

from tests.soak.judging import Outcome
from tests.soak.soak import Findings

_MIB = 1024 * 1024


def lines(findings: Findings) -> Iterator[str]:
    """Yield the report, line by line."""
    ledger, disturbances = findings.ledger, findings.disturbances
    yield (
        f"{len(ledger):,} requests in {findings.seconds / 60:.1f} minutes; "
        f"{sum(disturbances.faults.values())} faults of {len(disturbances.faults)} kinds, "
        f"{findings.reloads} reloads, {findings.refused_reloads} more that were refused since no "
        f"credentials were to be had, {findings.renewals} renewals of the credentials, "
        f"which {disturbances.expirations} times had ended early, "
        f"metadata service away {disturbances.absences} times."
    )
    yield ""
    outcomes = [each for each in Outcome if ledger.total(each) or each is Outcome.BROKEN]
    yield from _table(
        ["requests", *(each.value for each in outcomes)],
        [
            *(
                [kind, *(f"{counts[each]:,}" for each in outcomes)]
                for kind, counts in sorted(ledger.counts.items())
            ),
            ["all", *(f"{ledger.total(each):,}" for each in outcomes)],
        ],
    )
    yield ""
    yield from _table(
        [
            "process",
            "seconds",
            "MiB at first",
            "at the end",
            "risen, by the line",
            "fds",
            "threads",
        ],
        [
            [
                each.name,
                f"{each.seconds:.0f}",
                f"{each.samples[0].memory / _MIB:.1f}",
                f"{each.samples[-1].memory / _MIB:.1f}",
                f"{each.risen / _MIB:+.2f}",
                _range([sample.descriptors for sample in each.samples]),
                _range([sample.threads for sample in each.samples]),
            ]
            for each in findings.courses
        ],
    )
    yield ""
    gauges = ", ".join(f"{name} {value:.0f}" for name, value in findings.gauges.items())
    yield f"In the end, with the one that asks: {gauges}."
    after = " and ".join(map(str, findings.after))
    yield f"Descriptors of a worker: {findings.before} before all traffic, {after} after it."


def _range(values: Sequence[int]) -> str:
    return f"{min(values)}-{max(values)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
