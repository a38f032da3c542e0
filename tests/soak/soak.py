"""One soak: traffic and what goes wrong meanwhile, first with reloads, then a long life without."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tests.integration.scraping import Scrape, scrape
from tests.soak import samples
from tests.soak.clients import Client
from tests.soak.disturbances import Disturbances
from tests.soak.hostile import Hostile
from tests.soak.judging import Outcome
from tests.soak.ledger import Ledger
from tests.soak.progress import Progress
from tests.soak.questions import all_questions
from tests.soak.samples import Course, Sample
from tests.soak.site import Site

_CLIENTS = 24
_HOSTILE = 4
_SAMPLE_SECONDS = 1.0

# The proxy lets an unused connection to SageMaker go after 30.
_SETTLE_SECONDS = 33.0
_CALM_SECONDS = 60.0

# Of the time: with reloads, and of the rest, for the workers to warm up.
_RELOADING, _WARMING = 1 / 4, 1 / 2

# An allocator keeps what it had at most: large bodies at the same time, by chance. A worker's
# memory rises by half within its first 3,000 requests, and then no more. A short soak sees that.
_LONG_SECONDS = 300.0
_MOST_RISEN_BYTES = 8 * 1024 * 1024
_MOST_RISEN_BYTES_AT_FIRST = 24 * 1024 * 1024

# Connections that the SDK keeps: to the control plane, S3 and the metadata service.
_MOST_DESCRIPTORS_LEFT = 15
GAUGES = ("requests_open", "streams_open", "queued", "waking")


@dataclass
class Findings:
    """What a soak has shown; `complaints` are the promises that were broken."""

    ledger: Ledger
    disturbances: Disturbances
    seconds: float = 0.0
    reloads: int = 0
    refused_reloads: int = 0
    renewals: int = 0
    courses: list[Course] = field(default_factory=list)
    gauges: dict[str, float] = field(default_factory=dict)
    before: int = 0  # descriptors of a worker
    after: list[int] = field(default_factory=list)  # those of each
    complaints: list[str] = field(default_factory=list)


class Soak:
    """To be run once."""

    def __init__(self, site: Site, seconds: float) -> None:
        """`seconds` are for all of it, until the proxy is calm again."""
        self._site = site
        self._traffic_seconds = max(seconds - _SETTLE_SECONDS, 15.0)
        self._ledger = Ledger()
        self._disturbances = Disturbances(site)
        self._courses: dict[int, list[Sample]] = {}  # by process id

    async def run(self) -> Findings:
        """Put the proxy through it."""
        questions = await asyncio.to_thread(all_questions, self._site.emulator)
        began = time.monotonic()
        findings = Findings(self._ledger, self._disturbances)
        findings.before = max(self._descriptors())
        clients = [Client(self._site, self._ledger, questions, n) for n in range(_CLIENTS)]
        hostile = [Hostile(self._site, self._ledger, n) for n in range(_HOSTILE)]
        progress = Progress(self._site, self._ledger, self._disturbances)
        reloading = self._traffic_seconds * _RELOADING
        async with _running(progress.report()), _running(self._sample()):
            async with (
                _running(*(each.run() for each in clients)),
                _running(*(each.run() for each in hostile)),
                _running(self._disturbances.fail(), self._disturbances.renew_credentials()),
            ):
                async with _running(self._disturbances.reload()):
                    await asyncio.sleep(reloading)
                steady_from = time.monotonic()
                await asyncio.sleep(self._traffic_seconds - reloading)
                traffic_ended = time.monotonic()
            self._site.emulator.clear_faults()
            findings.gauges = await self._wait_until_calm()
            findings.after = await self._wait_until_let_go(findings.before)
        findings.seconds = time.monotonic() - began
        findings.reloads = self._site.reloads
        findings.refused_reloads = self._site.refused_reloads
        findings.renewals = len(self._site.metadata.issued)
        measured_from = steady_from + (traffic_ended - steady_from) * _WARMING
        findings.courses = self._measured(measured_from, traffic_ended)
        findings.complaints = list(self._complain(findings))
        return findings

    async def _sample(self) -> None:
        pids = [self._site.proxy.process.pid]
        while True:
            now = time.monotonic()
            for pid in (*pids, *self._site.workers):
                with contextlib.suppress(OSError):  # it was replaced just now
                    self._courses.setdefault(pid, []).append(samples.take(pid, now))
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _measured(self, begin: float, end: float) -> list[Course]:
        names = {self._site.proxy.process.pid: "supervisor"}
        names |= {pid: f"worker {n}" for n, pid in enumerate(self._site.workers)}
        return [
            Course(name, found)
            for pid, name in names.items()
            if (found := [each for each in self._courses.get(pid, []) if begin <= each.at <= end])
        ]

    async def _wait_until_calm(self) -> dict[str, float]:
        """Return the gauges as they are when nothing is open, or after long enough."""
        deadline = time.monotonic() + _CALM_SECONDS
        while True:
            found: Scrape = await asyncio.to_thread(scrape, self._site.proxy)
            gauges = {name: found.value(name) for name in GAUGES}
            gauges["connections"] = found.value("connections")
            # This scrape may be one of what is open.
            if max(gauges.values()) <= 1 or time.monotonic() > deadline:
                return gauges
            await asyncio.sleep(0.5)

    async def _wait_until_let_go(self, before: int) -> list[int]:
        """Return how many descriptors each worker has in the end."""
        deadline = time.monotonic() + _CALM_SECONDS
        while max(now := self._descriptors()) > before + _MOST_DESCRIPTORS_LEFT:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        return now

    def _descriptors(self) -> list[int]:
        return [samples.take(pid, 0).descriptors for pid in self._site.workers]

    def _complain(self, findings: Findings) -> list[str]:
        complaints = list(self._ledger.stories)
        if broken := self._ledger.total(Outcome.BROKEN):
            complaints.append(f"{broken} promises were broken")
        complaints += [f"the log: {each}" for each in self._site.alarms]
        if findings.disturbances.failed_reloads:
            complaints.append(f"{findings.disturbances.failed_reloads} reloads did not end")
        is_long = min(each.seconds for each in findings.courses) > _LONG_SECONDS
        most = _MOST_RISEN_BYTES if is_long else _MOST_RISEN_BYTES_AT_FIRST
        complaints += filter(None, (each.excess(most) for each in findings.courses))
        if open_still := {name: value for name, value in findings.gauges.items() if value > 1}:
            complaints.append(f"still open at the end: {open_still}")
        if max(findings.after) > findings.before + _MOST_DESCRIPTORS_LEFT:
            complaints.append(f"descriptors: {findings.before} at first, then {findings.after}")
        return complaints


@contextlib.asynccontextmanager
async def _running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these meanwhile; whatever one of them raises is raised here."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for each in ended:
        if isinstance(each, Exception):
            raise each
