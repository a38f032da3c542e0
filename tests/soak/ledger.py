"""Counts what came of every request, and keeps the broken promises with their stories."""

from collections import Counter, defaultdict
from datetime import datetime

from tests.soak.judging import Outcome

_MOST_STORIES = 20


class Ledger:
    """One for a whole soak."""

    def __init__(self) -> None:
        self.counts: defaultdict[str, Counter[Outcome]] = defaultdict(Counter)
        self.stories: list[str] = []

    def note(self, kind: str, outcome: Outcome, story: str = "") -> None:
        """Enter one request; `story` is of a broken promise."""
        self.counts[kind][outcome] += 1
        if outcome is Outcome.BROKEN and len(self.stories) < _MOST_STORIES:
            self.stories.append(f"{datetime.now():%H:%M:%S} {kind}: {story}")

    def total(self, outcome: Outcome) -> int:
        """Return how many there were of all kinds."""
        return sum(counts[outcome] for counts in self.counts.values())

    def __len__(self) -> int:
        return sum(sum(counts.values()) for counts in self.counts.values())
