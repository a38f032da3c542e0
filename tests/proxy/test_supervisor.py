"""What the supervisor does where a real worker cannot even be started."""

import sys

import pytest

from proxy.startup import StartFailed
from proxy.supervisor import Supervisor
from proxy.systemd import Notifier


async def test_a_program_that_is_gone_is_a_failed_start_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As after an upgrade that went wrong: a reload and a replacement must survive it.
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    supervisor = Supervisor([[], []], [], Notifier({}), "https://localhost")
    with pytest.raises(StartFailed, match=r"cannot start a worker: .*No such file"):
        await supervisor._start_generation()
