"""What journalctl says is read line by line, and its refusals are told in words that help."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy import journal
from proxy.journal import JournalError


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in its place, that says what it was asked."""
    program = tmp_path / "journalctl"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    return program


def test_the_units_own_lines_of_the_period_are_asked_for(journalctl: Path) -> None:
    period = (datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC), datetime(2026, 1, 2, tzinfo=UTC))
    asked = [line.decode().strip() for line in journal.read(*period)]
    assert asked[:2] == ["--unit=sagemaker-proxy", "--output=cat"]
    assert asked[-2:] == ["--since=@1767225600", "--until=@1767312000"]


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ("No journal files were opened due to insufficient permissions.", 1, "run it with sudo"),
        ("Hint: You are currently not seeing messages from other users", 0, "run it with sudo"),
        ("Data from the journal is broken", 1, "journalctl failed: Data from"),
    ],
)
def test_a_refusal_is_told(journalctl: Path, said: str, status: int, words: str) -> None:
    journalctl.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {status}\n")
    with pytest.raises(JournalError, match=words):
        list(journal.read())


def test_a_machine_without_a_journal_is_told_of_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JournalError, match="--input -"):
        list(journal.read())
