"""Cuts a text before its first stop sequence, also where the text comes in pieces.

OpenAI's answers end before the stop sequence; some containers return it, some know only one token.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopCutter:
    """Passes text on until a stop sequence is complete.

    The result is the same however the text is cut: what might be the start of a stop sequence
    waits for the next piece. Of several, the one that is complete first counts.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._most_held = max(map(len, stops), default=1) - 1
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The text that is surely before any stop sequence."""
        if self.stopped:
            return ""
        text = self._held + text
        found = [(text.find(stop), len(stop)) for stop in self._stops]
        ends = [(start + length, start) for start, length in found if start >= 0]
        if ends:
            self.stopped = True
            self._held = ""
            return text[: min(ends)[1]]
        held = self._length_of_start(text)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def end(self) -> str:
        """What was held, now that no more text comes."""
        held, self._held = self._held, ""
        return held

    def _length_of_start(self, text: str) -> int:
        """How many of the last characters may be the start of a stop sequence."""
        for length in range(min(self._most_held, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0
