"""What is to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmark.results import Results

# Fewer than asked for by those that a moment between two streams catches.
_NEARLY_ALL = 0.98


@dataclass(frozen=True)
class Target:
    """One figure with its bounds, both in `unit`; None where none is set."""

    figure: str
    value: Callable[[Results], float | None]
    least: float | None
    aim: float
    unit: str = ""
    more_is_better: bool = False

    def verdict(self, value: float | None) -> str:
        """Say in a word or two what a value means."""
        if value is None:
            return "not measured"
        if self._reaches(value, self.aim):
            return "aim met"
        if self.least is None:
            return "aim missed"
        return "met" if self._reaches(value, self.least) else "MISSED"

    def _reaches(self, value: float, bound: float) -> bool:
        return value >= bound if self.more_is_better else value <= bound


@dataclass(frozen=True)
class Verdict:
    """A target, what was measured, and what that means."""

    target: Target
    value: float | None

    @property
    def text(self) -> str:
        """The verdict in words."""
        return self.target.verdict(self.value)


def judge(results: Results) -> list[Verdict]:
    """Compare a run with every target."""
    return [Verdict(target, target.value(results)) for target in TARGETS]


def _ratio(figure: str, ours: str, theirs: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        found = results.ratio(figure, ours, theirs)
        return found.median if found else None

    return value


def _own(figure: str, row: str = "ours") -> Callable[[Results], float | None]:
    return lambda results: results.value(row, figure)


def _more_than_nginx(percentile: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        ours = results.value("ours", f"half_added_{percentile}_ms")
        theirs = results.value("nginx", f"rival_added_{percentile}_ms")
        return None if ours is None or theirs is None else ours - theirs

    return value


def _memory_with_most(results: Results) -> float | None:
    """What a worker holds with all streams open; infinite if one of them was not served."""
    opened = results.value("ours", "most_open")
    errors = results.value("ours", "most_errors")
    if opened is None or errors is None:
        return None
    if errors or opened < _NEARLY_ALL * 2000:
        return float("inf")
    return results.value("ours", "most_worker_rss_mb")


def two_workers(results: Results) -> float | None:
    """How many times one worker's requests two have served, each with the same part of a core."""
    one = results.value("ours-one-worker", "capped_per_second")
    two = results.value("ours-two-workers", "capped_per_second")
    return None if one is None or two is None else two / one


def _beside_chat(api: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        chat = results.value("ours-apis", "chat_chunk_cpu_us")
        other = results.value("ours-apis", f"{api}_chunk_cpu_us")
        return None if chat is None or other is None else other / chat

    return value


TARGETS = (
    Target(
        "plain requests a second, one core, 16 connections, against LiteLLM",
        _ratio("plain_per_second", "ours", "litellm"),
        *(30, 50, "x"),
        more_is_better=True,
    ),
    Target(
        "the same over plain HTTP against TensorZero (Rust)",
        _ratio("plain_per_second", "ours-plain", "tensorzero"),
        *(0.8, 1.2, "x"),
        more_is_better=True,
    ),
    Target(
        "CPU a paced chunk at 64 streams, plain HTTP, against TensorZero",
        _ratio("paced_cpu_us", "ours-plain", "tensorzero"),
        *(1.3, 0.9, "x"),
    ),
    Target(
        # nginx may be faster than what calls it here.
        "plain requests a second of CPU time, over TLS, against nginx",
        _ratio("plain_per_cpu_second", "ours", "nginx"),
        *(0.06, 0.12, "x"),
        more_is_better=True,
    ),
    Target(
        "CPU a request, against Tornado hello over TLS",
        _ratio("plain_cpu_us", "ours", "hello"),
        *(1.7, 1.15, "x"),
    ),
    Target(
        "CPU a streamed chunk (10 ms apart, 64 streams), against nginx",
        _ratio("paced_cpu_us", "ours", "nginx"),
        *(3.5, 2.5, "x"),
    ),
    Target(
        "the same through OpenAI's Responses API, against a chat",
        _beside_chat("responses"),
        *(1.25, 1.1, "x"),
    ),
    Target(
        "the same through Anthropic's Messages API, against a chat",
        _beside_chat("messages"),
        *(1.25, 1.1, "x"),
    ),
    Target(
        "chunks delivered at 500 streams 10 ms apart, of the ideal",
        _own("many_delivered"),
        *(0.75, 0.95),
        more_is_better=True,
    ),
    Target(
        "added p50 at half load, more than nginx adds at that rate",
        _more_than_nginx("p50"),
        None,
        1,
        "ms",
    ),
    Target(
        "added p99 at half load, more than nginx adds at that rate",
        _more_than_nginx("p99"),
        None,
        5,
        "ms",
    ),
    Target(
        "memory (RSS) of a worker with 500 open streams", _own("many_worker_rss_mb"), 120, 75, "MB"
    ),
    Target(
        "2,000 open streams in one worker, no error; memory (RSS)",
        _memory_with_most,
        *(1e6, 150, "MB"),
    ),
    Target(
        "two workers against one, each capped at 30 % of a core",
        two_workers,
        *(1.7, 1.9, "x"),
        more_is_better=True,
    ),
    Target(
        "loop lag p99 while credentials and catalogue refresh under load",
        _own("lag_p99_ms", "ours-refreshing"),
        *(20, 5, "ms"),
    ),
)
