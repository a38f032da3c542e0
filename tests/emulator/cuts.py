"""Cuts bytes at places nobody expects: inside lines and inside UTF-8 characters."""

from collections.abc import Iterator
from random import Random

_USUAL_LARGEST = 400
_PIECES_OF_LARGE_DATA = 8
# Chance alone would hardly ever hit the few characters that have more bytes than one.
_WITHIN_A_CHARACTER = 0.25


def cut(data: bytes, rng: Random) -> Iterator[bytes]:
    """Yield the data in pieces from one byte to several hundred."""
    # Megabytes in pieces of a hundred bytes would only be slow, so pieces grow with the data.
    largest = max(_USUAL_LARGEST, len(data) // _PIECES_OF_LARGE_DATA)
    start = 0
    while start < len(data):
        size = rng.randint(1, rng.choice((1, 8, 64, largest)))
        if rng.random() < _WITHIN_A_CHARACTER:
            size = _through_lead_byte(data, start, largest) or size
        yield data[start : start + size]
        start += size


def _through_lead_byte(data: bytes, start: int, largest: int) -> int:
    """Return the length up to and with the first byte of a multi-byte character, 0 if none."""
    window = data[start : start + largest]
    return next((index + 1 for index, byte in enumerate(window) if byte >= 0xC0), 0)


def halves(data: bytes) -> tuple[bytes, bytes]:
    """Split the data in the middle."""
    middle = len(data) // 2
    return data[:middle], data[middle:]
