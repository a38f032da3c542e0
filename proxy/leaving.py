"""The mark by which an operator takes a host out of a load balancer while it goes on serving."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_NAME = "leaving"


def is_marked(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``leaving`` is in ``RUNTIME_DIRECTORY``, which systemd empties at each start."""
    directory = environ.get("RUNTIME_DIRECTORY")
    return directory is not None and (Path(directory.split(":")[0]) / _NAME).exists()
