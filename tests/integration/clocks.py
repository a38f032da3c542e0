"""The clock of a process, put ahead while it runs."""

from datetime import timedelta
from pathlib import Path

from tests.testhost import machine


def why_not() -> str | None:
    """Say in a line why there is no such clock here; None if there is."""
    if missing := machine.provide("faketime", "faketime"):
        return missing
    return None if _library() else "faketime is here without its library"


class Clock:
    """Of every process that has its environment; the time since the start of things is as it was.

    It is set in no time, and shows in every reading from then on.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.set(timedelta())

    def environment(self) -> dict[str, str]:
        """What makes a process go by it."""
        return {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, ahead: timedelta) -> None:
        """Have it so far ahead of this machine's."""
        new = self._file.with_suffix(".new")
        new.write_text(f"+{ahead.total_seconds():.0f}\n")
        new.replace(self._file)


def _library() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else ""
