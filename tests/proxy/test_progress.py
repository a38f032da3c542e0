"""How far something has come is told on a terminal, and only if it takes long."""

import io
import time

import pytest

from proxy.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_is_told_after_two_seconds_and_taken_away_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    terminal = Terminal()
    progress = Progress(terminal)
    progress.tell("1 line")
    assert terminal.getvalue() == ""
    now += 2
    progress.tell("2 lines")
    progress.tell("3 lines")
    assert terminal.getvalue() == "\r\x1b[K2 lines"
    progress.end()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_file_gets_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    progress = Progress(file)
    monkeypatch.setattr(time, "monotonic", lambda: float("inf"))
    progress.tell("1 line")
    progress.end()
    assert file.getvalue() == ""
