"""What becomes of workers where a real one cannot even be started."""

import sys
from pathlib import Path

import pytest

from proxy.startup import StartFailed
from proxy.workers import Workers


async def test_a_program_that_is_gone_is_a_failed_start_like_any_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As after an upgrade that went wrong: a reload and a replacement must survive it.
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(StartFailed, match=r"cannot start a worker: .*No such file"):
        await Workers([[], []], [], tmp_path).start()


async def test_none_is_started_any_more_when_the_server_ends(tmp_path: Path) -> None:
    workers = Workers([[]], [], tmp_path)
    await workers.end()
    with pytest.raises(StartFailed, match="the server ends"):
        await workers.start()
