"""Compiles the upstream and the load generator, which are C, where they are not yet."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.benchmark.programs import Failed
from tests.testhost import machine

_HERE = Path(__file__).parent
_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
_LIBRARIES = {"upstream": (), "load": ("-lssl", "-lcrypto")}


def why_not() -> str | None:
    """Say in a line why they cannot be compiled here as it is; None if they can."""
    if shutil.which("gcc") is None:
        return "gcc is not here"
    probe = ["gcc", "-x", "c", "-include", "openssl/ssl.h", "-fsyntax-only", "/dev/null"]
    if subprocess.run(probe, capture_output=True).returncode:
        return "OpenSSL's headers (Debian: libssl-dev) are not here"
    return None


def provide_compiler() -> None:
    """Install what is missing, where that is possible. Raises `Failed`."""
    if why_not():
        machine.provide("gcc", "gcc")
        machine.provide("headers of OpenSSL", "libssl-dev")
    if reason := why_not():
        raise Failed(reason)


def compile_programs(directory: Path) -> dict[str, Path]:
    """Return each program by its name, compiled anew if its source has changed."""
    directory.mkdir(parents=True, exist_ok=True)
    return {name: _compile(name, directory) for name in _LIBRARIES}


def _compile(name: str, directory: Path) -> Path:
    source = _HERE / f"{name}.c"
    program = directory / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not program.exists():
        made = program.with_suffix(f".{os.getpid()}")
        command = ["gcc", *_FLAGS, "-o", str(made), str(source), *_LIBRARIES[name]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{source.name} does not compile: {done.stderr.strip()[:600]}")
        made.rename(program)
    return program
