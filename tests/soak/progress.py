"""Says every few seconds how a soak goes, on standard error."""

import asyncio
import sys
import time

from tests.soak import samples
from tests.soak.disturbances import Disturbances
from tests.soak.judging import Outcome
from tests.soak.ledger import Ledger
from tests.soak.site import Site

_SECONDS = 5.0


class Progress:
    """Begins its clock when it is made."""

    def __init__(self, site: Site, ledger: Ledger, disturbances: Disturbances) -> None:
        self._site = site
        self._ledger = ledger
        self._disturbances = disturbances
        self._began = time.monotonic()
        self._told = 0

    async def report(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(_SECONDS)
            print(self._line(), file=sys.stderr, flush=True)
            for story in self._ledger.stories[self._told :]:
                print(f"        {story[:300]}", file=sys.stderr, flush=True)
            self._told = len(self._ledger.stories)

    def _line(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        counts = ", ".join(f"{self._ledger.total(each):,} {each.value}" for each in Outcome)
        workers = []
        for pid in self._site.workers:
            try:
                sample = samples.take(pid, 0)
            except OSError:  # it was replaced just now
                continue
            workers.append(f"{sample.memory / 2**20:.0f} MiB {sample.descriptors} fds")
        return (
            f"{minutes:3}:{seconds:02}  {counts}; {self._site.reloads} reloads; "
            f"{' | '.join(workers)}; {self._disturbances.now}"
        )
