"""Wrong keys by the address that they came from, as one worker has seen them."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict

# More are a program that guesses, or one that does not read its answers.
MOST_A_MINUTE = 30

_SECONDS = 60.0

# Addresses that are remembered; beyond it the one whose minute began first is forgotten.
_MOST_ADDRESSES = 10_000


class Guesses:
    """Says who has been wrong too often to be told so once more."""

    def __init__(self) -> None:
        self._minutes: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def note(self, address: str) -> int:
        """A wrong key has come from ``address``. 0, or for how many seconds there are too many."""
        network, now = _network(address), time.monotonic()
        began, count = self._minutes.get(network, (now, 0))
        if now >= began + _SECONDS:
            del self._minutes[network]
            began, count = now, 0
        self._minutes[network] = began, count + 1
        if len(self._minutes) > _MOST_ADDRESSES:
            self._minutes.popitem(last=False)
        return int(began + _SECONDS - now) + 1 if count >= MOST_A_MINUTE else 0


def _network(address: str) -> str:
    """What one client has: an IPv4 address, or the 64 bits that it may choose an IPv6 one in."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return parsed.exploded[:19] if parsed.ipv4_mapped is None else str(parsed.ipv4_mapped)
    return address
