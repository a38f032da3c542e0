"""The values that labels of metrics have: as many as there are models and keys, and no more.

Each value is a series of its own, in memory and in Prometheus, so a client must not make any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from proxy import metric_families as families
from proxy.metric_files import Series

T = TypeVar("T")

NONE = ""
UNKNOWN = "unknown"  # there is no such model
OTHER = "other"  # there are too many

# Over the life of the service, which is that of the files.
MOST_MODELS = 1000  # each once for every route that has called it
MOST_KEYS = 5000


@dataclass(slots=True)
class Seen:
    """What has a series already."""

    calls: set[tuple[str, str]] = field(default_factory=set)  # route and model
    models: set[str] = field(default_factory=set)  # that have told of tokens
    keys: set[str] = field(default_factory=set)


class Labels:
    """Turns names into labels."""

    def __init__(self, knows: Callable[[str], bool], seen: Seen) -> None:
        """``knows`` tells of a model's name whether it is known."""
        self._knows = knows
        self._seen = seen

    def called(self, route: str, model: str | None, *, answered: bool) -> str:
        """The label of a model that was called by a route; if it has ``answered``, there is one."""
        if not model:
            return NONE
        calls = self._seen.calls
        if not (answered or (route, model) in calls or self._knows(model)):
            return UNKNOWN
        return self._bounded(model, calls, (route, model), MOST_MODELS)

    def model(self, model: str) -> str:
        """The label of a model that has answered."""
        return self._bounded(model, self._seen.models, model, MOST_MODELS)

    def key(self, name: str) -> str:
        """The label of a key."""
        return self._bounded(name, self._seen.keys, name, MOST_KEYS)

    def _bounded(self, name: str, seen: set[T], item: T, most: int) -> str:
        if item not in seen and len(seen) >= most:
            return OTHER
        seen.add(item)
        return name


def seen_in(series: Iterable[Series]) -> Seen:
    """What the workers before have made series of, which are still told of."""
    seen = Seen()
    for name, labels in series:
        if name == families.REQUESTS.name:
            seen.calls.add((labels[0], labels[1]))
        elif name == families.TOKENS.name:
            seen.models.add(labels[0])
        elif name in (families.KEY_REQUESTS.name, families.KEY_TOKENS.name):
            seen.keys.add(labels[0])
    return seen
