"""Where each worker's metrics are, in the folder that all workers share.

The files are prometheus-client's own, named by what they hold and by the worker's column. A column
outlives its worker: the next one goes on counting where that ended, so there are never more files
than columns. What tells of the present alone ends with the worker.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = "metrics"


def folder(shared: Path) -> Path:
    """The folder of the metrics, in that of all that workers share."""
    return shared / _FOLDER


def forget_live(shared: Path, column: int) -> None:
    """Nothing is open any more in ``column``, whose worker has ended."""
    for path in folder(shared).glob(f"gauge_live*_{column}.db"):
        path.unlink(missing_ok=True)
