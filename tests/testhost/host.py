"""A host for tests to provision, reboot and throw away: python -m tests.testhost.host NAME."""

import argparse
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.testhost.claims import Claim, claim
from tests.testhost.image import Image, image
from tests.testhost.machine import install_tools
from tests.testhost.nspawn import HELPERS, Machine
from tests.testhost.ssh import Ssh

_BOOT_SECONDS = 60.0
_STOP_SECONDS = 5.0


class Host:
    """A freshly booted Amazon Linux 2023, as a context manager; nothing is left of it afterwards.

    `bind` has paths of the machine outside, and where the host sees them, read-only.
    """

    user = "ec2-user"
    address: str
    outside: str  # the address of the machine outside, as the host sees it
    namespace: str
    known_hosts: Path
    ssh_options: list[str]
    directory: Path  # for whatever should go with the host; its path is short

    def __init__(self, name: str, image: Image, bind: Mapping[str, str] = {}) -> None:
        self.name = name
        self.private_key = image.private_key
        self._image = image
        self._bind = dict(bind)
        self._claim: Claim | None = None
        self._machine: Machine | None = None
        self._inside: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(
        self,
        command: str,
        *,
        check: bool = True,
        timeout: float = 60.0,
        user: str = "root",
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a shell on the host; raises `ssh.CommandFailed` if it fails."""
        return self._ssh.run(command, user=user, check=check, timeout=timeout, stdin=stdin)

    def inside(self, command: Sequence[str], **popen: Any) -> subprocess.Popen[Any]:
        """Start a process of the machine outside that has the host's addresses and loopback.

        It ends with the host, if not before. The arguments are those of `subprocess.Popen`.
        """
        assert self._claim is not None
        line = ["nsenter", f"--net={self._claim.network.path}", "--", *command]
        process: subprocess.Popen[Any] = subprocess.Popen(self.beside(line), **popen)
        self._inside.append(process)
        return process

    def beside(self, command: Sequence[str]) -> list[str]:
        """What to run for a process of the machine outside that is to end with the host."""
        assert self._claim is not None
        return self._claim.control_group.command(HELPERS, command)

    def boot_id(self) -> str:
        """What is different after each boot."""
        return self._boot_id(fresh=False)

    def reboot(self) -> None:
        """Reboot, and wait until all is up again."""
        before = self.boot_id()
        self.run("systemctl reboot", check=False)
        self._ssh.disconnect()
        self._wait_for_boot(other_than=before)

    @property
    def control_group(self) -> Path:
        """Where its processes are, by their numbers on the machine outside."""
        assert self._claim is not None
        return self._claim.control_group.path

    def lose_power(self) -> None:
        """End all that runs on it at this moment, and wait until it is up again."""
        before = self.boot_id()
        self.run("systemctl reboot --force --force", check=False)
        self._ssh.disconnect()
        self._wait_for_boot(other_than=before)

    def written(self) -> Path:
        """What differs from the image, as an upper folder of overlayfs, seen from outside."""
        assert self._machine is not None
        return Path(f"/proc/{self._machine.process.pid}/root{self.directory}/memory/upper")

    def _boot(self) -> None:
        claimed = self._claim = claim()
        self.directory = claimed.directory
        self.address = claimed.network.address
        self.outside = claimed.network.outside
        self.namespace = claimed.network.namespace
        claimed.network.create()
        self._ssh = Ssh(
            self.address, self.private_key, self._image.host_key, self.directory, self.beside
        )
        self.known_hosts = self._ssh.known_hosts
        self.ssh_options = self._ssh.options
        self._machine = Machine(self.name, self._image.root, claimed, self._bind)
        self._wait_for_boot()

    def _wait_for_boot(self, other_than: str = "") -> None:
        assert self._machine is not None
        deadline = time.monotonic() + _BOOT_SECONDS
        while not (self._answers() and self._boot_id(fresh=True) not in ("", other_than)):
            if self._machine.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended:\n{self._machine.end_of_console()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} hangs:\n{self._machine.end_of_console()}")
            time.sleep(0.02)
        state = self.run("systemctl is-system-running --wait", check=False).stdout.strip()
        if state != "running":
            failed = self.run("systemctl list-units --failed; systemctl list-jobs").stdout
            raise RuntimeError(f"{self.name} is {state}:\n{failed}")

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1.0) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _boot_id(self, *, fresh: bool) -> str:
        line = "cat /proc/sys/kernel/random/boot_id"
        done = self._ssh.run(line, user="root", check=not fresh, timeout=10.0, fresh=fresh)
        return done.stdout.strip()

    def _end(self) -> None:
        if self._claim is None:
            return
        for process in self._inside:
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._inside:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        self._claim.release()
        for process in self._inside:
            process.wait()
        if self._machine is not None:
            self._machine.process.wait()
        self._claim = None


def main() -> None:
    """Boot a host, say how to reach it, and wait for the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.testhost.host", description=__doc__)
    parser.add_argument("name", help="the host's name")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        install_tools()
        with Host(options.name, image(say=print)) as host:
            print(host.address)
            line = ["ssh", *host.ssh_options, f"root@{host.address}"]
            print(shlex.join(line), flush=True)
            signal.pause()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
