"""Sockets are taken from systemd, and states are sent to it, as its manuals say."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.systemd import Notifier, logs_to_journal, take_sockets

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket at which systemd hears notifications."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        yield listener


def test_states_are_sent_a_line_each(systemd: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": systemd.getsockname()}
    Notifier(environ).notify(READY=1, STATUS="2 workers")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=2 workers"
    assert environ == {}, "no child may speak for the service"


def test_an_abstract_address_is_one_with_an_at_sign() -> None:
    name = f"proxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).notify(READY=1)
        assert listener.recv(100) == b"READY=1"


def test_without_systemd_or_after_it_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).notify(READY=1)
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).notify(READY=1)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
    ],
)
def test_the_watchdog_is_for_the_process_it_names(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert Notifier(dict(environ)).watchdog_seconds == seconds


@pytest.mark.parametrize(
    "environ",
    [{}, {"LISTEN_FDS": "2"}, {"LISTEN_FDS": "2", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x"}],
)
def test_sockets_for_another_process_are_left_alone(environ: dict[str, str]) -> None:
    assert take_sockets(environ) == []
    assert environ == {}


def test_sockets_that_are_ours_are_taken() -> None:
    program = (
        "import os, sys; sys.path.insert(0, '.'); os.environ['LISTEN_PID'] = str(os.getpid());"
        "from proxy.systemd import take_sockets;"
        "print(*[s.getsockname()[1] for s in take_sockets()], 'LISTEN_FDS' in os.environ)"
    )
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        shell = f'exec 3<&{one.fileno()} 4<&{two.fileno()}; exec "$@"'
        done = subprocess.run(
            ["bash", "-c", shell, "bash", sys.executable, "-c", program],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "LISTEN_FDS": "2"},
            pass_fds=[one.fileno(), two.fileno()],
            capture_output=True,
            text=True,
            check=True,
        )
        ports = f"{one.getsockname()[1]} {two.getsockname()[1]}"
    assert done.stdout == f"{ports} False\n"


def test_the_journal_is_known_by_its_device_and_inode() -> None:
    about = os.fstat(2)
    assert logs_to_journal({"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"})
    assert not logs_to_journal({"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino + 1}"})
    assert not logs_to_journal({})
