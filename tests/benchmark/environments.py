"""The other gateways' own environments, in .bench: what is pinned, and how it gets there."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmark.programs import Failed
from tests.benchmark.site import BENCH

_INSTALL_SECONDS = 900


def python(name: str, requirements: Sequence[str]) -> Path:
    """Return the interpreter of a virtual environment with these packages. Raises `Failed`."""
    directory = BENCH / name
    interpreter = directory / "bin" / "python"
    wanted = {"python": sys.version, "requirements": list(requirements)}
    if not _is_installed(directory, wanted):
        shutil.rmtree(directory, ignore_errors=True)
        _run(name, [sys.executable, "-m", "venv", str(directory)], BENCH)
        install = [str(interpreter), "-m", "pip", "install", "--quiet"]
        _run(name, [*install, "--disable-pip-version-check", *requirements], BENCH)
        _note(directory, wanted)
    return interpreter


def node(name: str, packages: Mapping[str, str], overrides: Mapping[str, str]) -> Path:
    """Return the folder that holds these packages of npm. Raises `Failed`."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise Failed("node and npm are not here")
    directory = BENCH / name
    document = {"private": True, "dependencies": dict(packages), "overrides": dict(overrides)}
    if not _is_installed(directory, document):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        (directory / "package.json").write_text(json.dumps(document))
        _run(name, ["npm", "install", "--no-audit", "--no-fund", "--silent"], directory)
        _note(directory, document)
    return directory / "node_modules"


def _is_installed(directory: Path, wanted: object) -> bool:
    note = directory / "installed.json"
    return note.exists() and json.loads(note.read_text()) == wanted


def _note(directory: Path, wanted: object) -> None:
    (directory / "installed.json").write_text(json.dumps(wanted))


def _run(name: str, command: Sequence[str], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{name} was not installed within {_INSTALL_SECONDS} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        raise Failed(f"{name} cannot be installed: {lines[-1][:200]}")
