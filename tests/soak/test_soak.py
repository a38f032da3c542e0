"""A short soak, as `make soak` runs a long one. It waits more than it works."""

import subprocess
import sys

import pytest

from tests.integration.running import ROOT

MINUTES = 3


@pytest.mark.timeout(MINUTES * 60 + 240)
def test_every_promise_is_kept() -> None:
    command = [sys.executable, "-m", "tests.soak", "--minutes", str(MINUTES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    told = f"{done.stdout}\n{done.stderr[-6000:]}"
    assert done.returncode == 0, told
    assert done.stdout.endswith("Every promise was kept.\n"), told
