"""Who asks for a reload hears what came of it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy import control
from proxy.control import ControlError


class Supervisor:
    failure: str | None = None
    reloads = 0

    async def reload(self) -> str | None:
        self.reloads += 1
        return self.failure


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor()
    async with await control.serve(tmp_path / "control", supervisor.reload):
        yield supervisor


async def ask(tmp_path: Path) -> None:
    await asyncio.to_thread(control.request_reload, tmp_path / "control")


async def test_it_returns_when_the_reload_is_done(supervisor: Supervisor, tmp_path: Path) -> None:
    await ask(tmp_path)
    assert supervisor.reloads == 1


async def test_a_failure_is_told(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.failure = "no worker\nstarts"
    with pytest.raises(ControlError, match="no worker\nstarts"):
        await ask(tmp_path)


async def test_the_owner_alone_can_ask(supervisor: Supervisor, tmp_path: Path) -> None:
    assert (tmp_path / "control").stat().st_mode & 0o777 == 0o600


async def test_what_one_that_was_killed_has_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "control").touch()
    async with await control.serve(tmp_path / "control", Supervisor().reload):
        await ask(tmp_path)


async def test_one_that_ends_meanwhile_is_told(tmp_path: Path) -> None:
    asked = threading.Event()

    async def never() -> str | None:
        asked.set()
        raise OSError

    async with await control.serve(tmp_path / "control", never):
        with pytest.raises(ControlError, match="ended meanwhile"):
            await ask(tmp_path)
    assert asked.is_set()


def test_the_socket_is_where_systemd_says() -> None:
    assert control.socket_path({"RUNTIME_DIRECTORY": "/run/x:/run/y"}) == Path("/run/x/control")
    assert control.socket_path({}) == Path("/run/sagemaker-proxy/control")


async def test_one_that_asks_for_nothing_is_not_waited_for(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_REQUEST_SECONDS", 0.01)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "control")
    assert await reader.read() == b""
    writer.close()
    assert supervisor.reloads == 0
