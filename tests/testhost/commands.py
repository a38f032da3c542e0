"""Commands of the machine outside, quiet unless they fail."""

import subprocess
from collections.abc import Mapping, Sequence


class Failed(RuntimeError):
    """A command ended with another status than 0; the message has what it said."""


def run(
    command: Sequence[str],
    *,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(
        command, input=stdin, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = f"{done.stdout}{done.stderr}"
        raise Failed(f"{' '.join(command)} ended with status {done.returncode}:\n{said}")
    return done.stdout
