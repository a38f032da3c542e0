"""Space for memory that is mapped from a file, taken before anything is written to it.

On a disk that is full, to write to a hole of such a file is no error but SIGBUS, and the end of the
process; where the disk is memory, even to read from one.
"""

from __future__ import annotations

import os
from pathlib import Path


def reserve(path: Path, start: int, size: int) -> bool:
    """Whether the file, which is made if need be, has space for so many bytes from ``start``."""
    try:
        with path.open("a+b") as file:
            os.posix_fallocate(file.fileno(), start, size)
    except OSError:
        return False
    return True
