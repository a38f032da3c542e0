"""Plays the repository's playbooks on a host, by the ansible-playbook of this environment."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.testhost.host import Host

_ROOT = Path(__file__).parents[2]
_END_LINES = 60
_SECONDS = 600.0

_TASK = re.compile(r"(?:TASK|RUNNING HANDLER) \[(.*)\] \**")
_CHANGED = re.compile(r"changed: \[")
_RECAP = re.compile(r"\S+\s+: ok=\d+ .*")
_COUNT = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True)
class Recap:
    """A play that has been: what it was, how it went by Ansible's own count, how long it took."""

    title: str
    counts: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.title} ({self.seconds:.1f} s): {self.counts}"


recaps: list[Recap] = []


@dataclass(frozen=True)
class Outcome:
    """How a play went: Ansible's counts, all that it printed, and the tasks that changed."""

    ok: int
    changed: int
    failed: int
    unreachable: int
    rescued: int
    output: str
    seconds: float
    changed_tasks: list[str]


def play(
    host: Host,
    playbook: str,
    *arguments: str,
    variables: Mapping[str, object] = {},
    check: bool = False,
    diff: bool = False,
    ok: bool = True,
    cut_at: str | None = None,
    aws: Mapping[str, str] | None = None,
    as_shipped: bool = False,
    others: Sequence[Host] = (),
) -> Outcome:
    """Play a playbook of `playbooks/`, or one anywhere by its absolute path.

    `cut_at` names a task: when it begins, the run is killed. `aws` is the environment of an AWS
    client, for a playbook that finds the host there, in place of the inventory. `others` are hosts
    that come after this one in the inventory. Unless the play is
    to be `as_shipped`, or one of these two is given, Mitogen carries the modules to the host, which
    takes half of the time. Raises AssertionError with the end of the output unless it ends well,
    or, if `ok` is false, unless it ends badly.
    """
    directory = host.directory / "ansible"  # and so are the connections that it leaves open
    directory.mkdir(exist_ok=True)
    modes = [*(["--check"] if check else []), *(["--diff"] if diff else [])]
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *(() if aws else ("--inventory", "".join(f"{each.address}," for each in (host, *others)))),
        *("--user", host.user),
        *("--private-key", str(host.private_key)),
        *("--extra-vars", f"@{_write_variables(directory, variables)}"),
        *modes,
        *arguments,
        str(_ROOT / "playbooks" / playbook),
    ]
    started = time.monotonic()
    known = [each.known_hosts for each in (host, *others)]
    environment = {**_environment(known, directory), **(aws or {})}
    if not (as_shipped or cut_at or aws):
        environment |= _mitogen()
    status, output = _run(host.beside(command), environment, cut_at)
    seconds = time.monotonic() - started
    outcome = _outcome(output, seconds)
    title = " ".join([Path(playbook).name, *modes, *arguments])
    recaps.append(Recap(f"{title} on {host.name}", _recap_line(outcome), seconds))
    expected = status == -signal.SIGKILL if cut_at else (status == 0) is ok
    if not expected:
        end = "\n".join(output.splitlines()[-_END_LINES:])
        raise AssertionError(f"{title} ended with status {status}:\n{end}")
    return outcome


def _run(command: list[str], environment: Mapping[str, str], cut_at: str | None) -> tuple[int, str]:
    """The exit status and all that was printed."""
    with subprocess.Popen(
        command,
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout is not None
        overtime = threading.Timer(_SECONDS, running.kill)
        overtime.start()
        lines = []
        for line in running.stdout:
            lines.append(line)
            if cut_at and line.startswith(f"TASK [{cut_at}]"):
                running.kill()
                break
        overtime.cancel()
        return running.wait(), "".join(lines)


def _write_variables(directory: Path, variables: Mapping[str, object]) -> Path:
    """Write the variables where nobody else can read them: some are keys."""
    path = directory / "variables.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(variables))
    return path


def _environment(known: Sequence[Path], directory: Path) -> dict[str, str]:
    together = directory / "known_hosts"
    together.write_text("".join(each.read_text() for each in known))
    ssh = ["-o", f"UserKnownHostsFile={together}", "-o", "StrictHostKeyChecking=yes"]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp"),
        "ANSIBLE_SSH_COMMON_ARGS": " ".join(ssh),
    }


def _mitogen() -> dict[str, str]:
    found = find_spec("ansible_mitogen")
    assert found is not None
    assert found.origin is not None
    return {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(Path(found.origin).parent / "plugins/strategy"),
        "ANSIBLE_DEPRECATION_WARNINGS": "0",  # Ansible says that there will be no such plugins
    }


def _outcome(output: str, seconds: float) -> Outcome:
    counts: dict[str, int] = {}
    changed_tasks: list[str] = []
    task = ""
    for line in output.splitlines():
        if named := _TASK.match(line):
            task = named[1]
        elif _CHANGED.match(line) and task not in changed_tasks[-1:]:
            changed_tasks.append(task)
        elif _RECAP.fullmatch(line):
            for name, number in _COUNT.findall(line):
                counts[name] = counts.get(name, 0) + int(number)
    return Outcome(
        ok=counts.get("ok", 0),
        changed=counts.get("changed", 0),
        failed=counts.get("failed", 0),
        unreachable=counts.get("unreachable", 0),
        rescued=counts.get("rescued", 0),
        output=output,
        seconds=seconds,
        changed_tasks=changed_tasks,
    )


def _recap_line(outcome: Outcome) -> str:
    names = ("ok", "changed", "failed", "unreachable", "rescued")
    return " ".join(f"{name}={getattr(outcome, name)}" for name in names)
