"""Each check has its time, and what one hangs or breaks at is the others' no matter."""

import io
import threading

from proxy.checks.bounded import run
from proxy.checks.finding import Finding, Verdict, ok, warning


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_every_finding_has_the_name_of_its_check() -> None:
    lines = run([("one", lambda: [ok("a"), warning("b", "c")]), ("two", lambda: [])], io.StringIO())
    assert [(line.check, line.finding.found) for line in lines] == [("one", "a"), ("one", "b")]


def test_one_that_breaks_has_failed_and_the_next_has_its_turn() -> None:
    def breaks() -> list[Finding]:
        raise LookupError("oh")

    first, second = run([("one", breaks), ("two", lambda: [ok("fine")])], io.StringIO())
    assert first.finding.verdict is Verdict.FAILED
    assert "LookupError: oh" in first.finding.found
    assert second.finding.verdict is Verdict.OK


def test_one_that_hangs_has_failed_and_is_left_behind() -> None:
    let_go = threading.Event()

    def hangs() -> list[Finding]:
        let_go.wait()
        return []

    first, second = run([("one", hangs), ("two", lambda: [ok("fine")])], io.StringIO(), seconds=0.2)
    let_go.set()
    assert first.finding.verdict is Verdict.FAILED
    assert first.finding.found == "no answer within 0.2 seconds"
    assert second.finding.verdict is Verdict.OK


def test_a_terminal_is_told_of_one_that_takes_long() -> None:
    let_go = threading.Event()
    terminal = Terminal()
    told = terminal.write

    def write(text: str) -> int:
        let_go.set()
        return told(text)

    terminal.write = write  # type: ignore[method-assign]

    def is_slow() -> list[Finding]:
        assert let_go.wait(30)
        return [ok("fine")]

    (line,) = run([("slow one", is_slow)], terminal, seconds=30)
    assert line.finding.verdict is Verdict.OK
    assert "slow one: waiting for an answer" in terminal.getvalue()
