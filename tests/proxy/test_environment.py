"""No process of ours has the key in its environment for longer than it takes to hash it."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from proxy.keys import hash_key

HIDE = "from proxy.environment import hide_key; hide_key()"
LOOK = "import os, sys; sys.stdout.buffer.write(open('/proc/self/environ', 'rb').read())"
START = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
ROOT = Path(__file__).parents[2]


def run(program: str, key: str) -> subprocess.CompletedProcess[bytes]:
    environ = {"API_KEY": key, "OTHER": "stays", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, LOOK]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("look", [LOOK, START], ids=["itself", "a process that it starts"])
def test_the_hash_is_all_that_is_left(look: str) -> None:
    key = str(uuid.uuid4())
    assert key.encode() in run(look, key).stdout, "without hide_key it is to be seen"
    for written in (key, f" {key.upper()}"):
        seen = run(f"{HIDE}\n{look}", written).stdout
        assert key.encode() not in seen.lower()
        assert b"OTHER=stays" in seen.split(b"\0")
    assert f"API_KEY_SHA256={hash_key(key)}".encode() in run(f"{HIDE}\n{START}", key).stdout


def test_without_a_key_nothing_is_changed() -> None:
    assert b"API_KEY_SHA256" not in run(f"{HIDE}\n{START}", "").stdout


def test_what_is_no_key_is_refused_without_being_repeated() -> None:
    done = run(HIDE, "sesame")
    assert done.returncode != 0
    assert b"sesame" not in done.stdout + done.stderr
