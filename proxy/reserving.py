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
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, start, size)
        finally:
            os.close(fd)
    except OSError:
        return False
    return True
