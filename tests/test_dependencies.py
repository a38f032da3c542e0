"""Every package that is installed is one that was looked at: locked, hashed, and at peace."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = [*ROOT.glob("requirements*.txt"), *(ROOT / "roles").rglob("*requirements*.txt")]

_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_every_line_of_a_lock_is_one_version_with_its_hashes(lock: Path) -> None:
    text = re.sub(r"^ *#.*\n", "", lock.read_text(), flags=re.MULTILINE)
    entries = text.replace("\\\n", " ").splitlines()
    assert entries
    for entry in entries:
        requirement, *hashes = re.split(r" +(?=--hash)", entry.strip())
        assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z,]+\])?==[^ *]+( ; .+)?", requirement), entry
        assert hashes, entry
        assert all(_HASH.fullmatch(each) for each in hashes), entry


def test_they_do_not_contradict_one_another() -> None:
    command = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
