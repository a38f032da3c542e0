"""What several rounds came to: the median, and how far they lay apart."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Of one figure: the median of its rounds, and the least and the most."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """How far the rounds lay apart, as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


def summarize(values: Sequence[float]) -> Summary:
    """Sum up the rounds of one figure; ValueError if there are none."""
    if not values:
        raise ValueError("no round has this figure")
    return Summary(statistics.median(values), min(values), max(values), len(values))


def ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Summary | None:
    """How many times theirs ours is, round by round; None where no round has both.

    What disturbs a round disturbs both, so its ratio is better than that of two medians.
    """
    both = [ours[each] / theirs[each] for each in ours if theirs.get(each)]
    return summarize(both) if both else None
