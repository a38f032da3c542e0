"""Runs what an operator runs: AWS's command line, and the playbooks."""

import json
import re
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SECONDS = 60.0

_MESSAGE = re.compile(r"^ {4}msg: (?:\|-?\n((?: {8}.*\n?|\n)+)|(.*\n(?: {8}.*\n?)*))", re.MULTILINE)


@dataclass(frozen=True)
class Aws:
    """A shell with AWS's command line, in the project's folder."""

    environment: dict[str, str]

    def __call__(self, commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@dataclass(frozen=True)
class Outcome:
    """How a play went."""

    changed: int
    output: str

    @property
    def message(self) -> str:
        """What the play said when it failed."""
        literal, folded = _MESSAGE.findall(self.output.rpartition("FAILED!")[2])[0]
        return " ".join((literal or folded).replace("'", "").split())


@dataclass(frozen=True)
class Stack:
    """Plays stack.yml, or another; keys that it keeps go to a file in `home`."""

    environment: dict[str, str]
    home: Path
    playbook: str = "stack.yml"
    seconds: float = _SECONDS
    says_key_file: bool = True  # else keys are where they are by default, in the project's folder

    @property
    def key_file(self) -> Path:
        return self.home / "keys" / "key"

    def __call__(
        self,
        variables: Mapping[str, object],
        *arguments: str,
        ok: bool = True,
        without: Collection[str] = (),
    ) -> Outcome:
        """Play it with these variables, and without these of the environment.

        Raises AssertionError with its output unless it ends well, or, if `ok` is false, badly.
        """
        where = {"api_keys_file": str(self.key_file)} if self.says_key_file else {}
        said = {**where, **variables}
        done = subprocess.run(
            ["ansible-playbook", f"playbooks/{self.playbook}", "-e", json.dumps(said), *arguments],
            cwd=ROOT,
            env={
                **{name: value for name, value in self.environment.items() if name not in without},
                "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "0",
                "ANSIBLE_LOCAL_TEMP": str(self.home / "tmp"),
                "ANSIBLE_NOCOLOR": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self.seconds,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stdout
        counts = re.search(r"^localhost .*changed=(\d+)", done.stdout, re.MULTILINE)
        assert counts is not None, done.stdout
        return Outcome(int(counts[1]), done.stdout)
