"""What goes wrong meanwhile: faults of the endpoints, credentials that end, and reloads."""

import asyncio
import random
import signal
from collections import Counter

from tests.emulator.faults import KINDS
from tests.soak.questions import SHAKY
from tests.soak.site import WORKERS, Site

_ENDPOINTS = ("chat", "echo", "csv")
_FAULT_SECONDS = (1.0, 4.0)
_CREDENTIALS_SECONDS = (6.0, 20.0)
_AWAY_SECONDS = 6.0
_RELOAD_SECONDS = (4.0, 12.0)
_RELOADED_SECONDS = 60.0

# Beyond read_timeout_seconds, which no test can wait for often.
_PARAMETERS: dict[str, dict[str, float]] = {
    "slow_first_byte": {"seconds": 9.0},
    "stream_break": {"after": 5},
}
_FEW = {"slow_first_byte": 2, "expired_token": 2}


class Disturbances:
    """Each goes on until it is cancelled."""

    def __init__(self, site: Site, seed: int = 0) -> None:
        self._site = site
        self._rng = random.Random(seed)
        self.now = "nothing"
        self.faults: Counter[str] = Counter()
        self.expirations = 0
        self.absences = 0
        self.failed_reloads = 0
        # What is refused while there are no others to be had is lost, and no fault of the proxy's.
        self._credentials = asyncio.Lock()

    async def fail(self) -> None:
        """Switch a fault of the shaky endpoints on, and off again, each kind in its turn."""
        while True:
            kinds = sorted(KINDS)
            self._rng.shuffle(kinds)
            for self.now in kinds:
                if self.now != "expired_token":
                    await self._have(self.now)
                elif not self._credentials.locked():
                    async with self._credentials:
                        await self._have(self.now)
                await asyncio.sleep(0.5)

    async def _have(self, kind: str) -> None:
        self.faults[kind] += 1
        more = _PARAMETERS.get(kind, {})
        for name in _ENDPOINTS:
            self._site.emulator.set_fault(f"{SHAKY}-{name}", kind, _FEW.get(kind), **more)
        await asyncio.sleep(self._rng.uniform(*_FAULT_SECONDS))
        self._site.emulator.clear_faults()

    async def renew_credentials(self) -> None:
        """Let those in use end, or the service that hands them out be away, in turn."""
        while True:
            await asyncio.sleep(self._rng.uniform(*_CREDENTIALS_SECONDS))
            self._site.expire_credentials()
            self.expirations += 1
            await asyncio.sleep(self._rng.uniform(*_CREDENTIALS_SECONDS))
            async with self._credentials:
                await self._wait_for_renewals()
                self._site.metadata.away.set()
                self.absences += 1
                await asyncio.sleep(_AWAY_SECONDS)
                self._site.metadata.away.clear()

    async def _wait_for_renewals(self) -> None:
        """Return when each worker has some that were issued from now on."""
        enough = len(self._site.metadata.issued) + 2 * WORKERS
        while len(self._site.metadata.issued) < enough:
            await asyncio.sleep(0.1)

    async def reload(self) -> None:
        """SIGHUP, again and again, each when the one before is done."""
        while True:
            await asyncio.sleep(self._rng.uniform(*_RELOAD_SECONDS))
            number = self._site.reloads_told + 1
            self._site.proxy.process.send_signal(signal.SIGHUP)
            if not await asyncio.to_thread(self._site.wait_for_reload, number, _RELOADED_SECONDS):
                self.failed_reloads += 1
