"""A line on a terminal that tells how far something has come, if it takes long."""

from __future__ import annotations

import time
from typing import TextIO

_FIRST_SECONDS = 2.0
_SECONDS = 0.5

_CLEAR = "\r\x1b[K"


class Progress:
    """To be told often; shows itself after two seconds, and on a terminal alone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._next = time.monotonic() + _FIRST_SECONDS
        self._shown = False

    def tell(self, text: str) -> None:
        """Show ``text`` in place of what was shown before, if it is time to."""
        if self._is_terminal and time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            self._shown = True
            self._stream.write(f"{_CLEAR}{text}")
            self._stream.flush()

    def end(self) -> None:
        """Take it away."""
        if self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
