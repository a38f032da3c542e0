"""Commands on a host by ssh, over one connection for each user."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path


class CommandFailed(AssertionError):
    """A command on a host ended with another status than 0; the message has what it said."""


class Ssh:
    """The OpenSSH client, set up to reach one host and to trust its key alone.

    `wrap` is how a command line becomes one whose process ends with the host.
    """

    def __init__(
        self,
        address: str,
        private_key: Path,
        host_key: str,
        directory: Path,
        wrap: Callable[[Sequence[str]], list[str]],
    ) -> None:
        self.known_hosts = directory / "known_hosts"
        self.known_hosts.write_text(f"{address} {host_key}\n")
        self.options = [
            "-F/dev/null",
            *("-i", str(private_key)),
            *("-o", "IdentitiesOnly=yes"),
            *("-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}"),
            *("-o", "GlobalKnownHostsFile=/dev/null"),
            *("-o", "StrictHostKeyChecking=yes"),
            *("-o", "ConnectTimeout=5"),
            *("-o", "LogLevel=ERROR"),
        ]
        self._address = address
        self._sockets = directory / "ssh"
        self._sockets.mkdir()
        self._wrap = wrap

    def run(
        self,
        command: str,
        *,
        user: str,
        check: bool,
        timeout: float,
        stdin: str | None = None,
        fresh: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the user's shell there; a `fresh` one shares no connection."""
        shared = [
            *("-o", f"ControlPath={self._sockets}/%r"),
            *("-o", "ControlMaster=auto"),
            *("-o", "ControlPersist=yes"),
        ]
        line = ["ssh", *self.options, *([] if fresh else shared), f"{user}@{self._address}"]
        done = subprocess.run(
            self._wrap([*line, command]),
            input=stdin or "",
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise CommandFailed(
                f"{command!r} ended with status {done.returncode} as {user}@{self._address}:\n"
                f"{done.stdout}{done.stderr}"
            )
        return done

    def disconnect(self) -> None:
        """Forget the shared connections."""
        for socket in self._sockets.iterdir():
            line = ["ssh", "-F/dev/null", "-o", f"ControlPath={socket}", "-O", "exit", "host"]
            subprocess.run(line, capture_output=True, check=False)
            socket.unlink(missing_ok=True)
