"""The values that labels of metrics have: as many as there are models and keys, and no more.

Each value is a series of its own, in memory and in Prometheus, so a client must not make any.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from prometheus_client.mmap_dict import MmapedDict

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
        """``knows`` tells whether there is a model of a name."""
        self._knows = knows
        self._seen = seen

    def called(self, route: str, model: str | None) -> str:
        """The label of a model that was called by a route."""
        return self._model(model, self._seen.calls, (route, model or NONE))

    def model(self, model: str) -> str:
        """The label of a model."""
        return self._model(model, self._seen.models, model)

    def key(self, name: str) -> str:
        """The label of a key."""
        seen = self._seen.keys
        if name not in seen and len(seen) >= MOST_KEYS:
            return OTHER
        seen.add(name)
        return name

    def _model(self, model: str | None, seen: set[T], item: T) -> str:
        if not model:
            return NONE
        if item in seen:
            return model
        if not self._knows(model):
            return UNKNOWN
        if len(seen) >= MOST_MODELS:
            return OTHER
        seen.add(item)
        return model


def read_seen(folder: Path) -> Seen:
    """What the workers before have made series of, which are still told of."""
    seen = Seen()
    for path in folder.glob("counter_*.db"):
        entries = MmapedDict.read_all_values_from_file(path)  # type: ignore[no-untyped-call]
        for key, *_ in entries:
            labels = json.loads(key)[2]
            if labels.keys() == {"route", "model", "status"}:
                seen.calls.add((labels["route"], labels["model"]))
            elif labels.keys() == {"model", "kind"}:
                seen.models.add(labels["model"])
            elif "key" in labels:
                seen.keys.add(labels["key"])
    return seen
