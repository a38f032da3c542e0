"""A disk of a few megabytes, in memory, that can be filled and emptied."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A folder that is a disk of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filling.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        """Give the space back."""
        self._filling.unlink()


@contextmanager
def small_disk(folder: Path, kilobytes: int = 4096) -> Iterator[SmallDisk]:
    """Mount one at ``folder``; the test is skipped where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs root, to mount a disk")
    try:
        yield SmallDisk(folder)
    finally:
        # Lazily: what still runs may have a file open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
