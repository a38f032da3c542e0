"""The log: one JSON object a line on standard error, from an allow-list of fields."""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import TextIO

_access = logging.getLogger("proxy.access")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, pid, message, ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Render ``record``; ``extra={"fields": {…}}`` adds to the object."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send every logger's records to ``stream`` (standard error) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # At DEBUG these log headers, credentials among them; at INFO botocore tells of every client
    # where it found its credentials, and tornado quotes a malformed header with its value.
    for name in ("botocore", "boto3", "urllib3", "aiohttp", "tornado.general"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def log_fields(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log ``message`` with structured ``fields``; those that are None are left out."""
    if logger.isEnabledFor(level):
        present = {name: value for name, value in fields.items() if value is not None}
        logger.log(level, message, extra={"fields": present})


def log_access(*, began: float, first_byte: float | None, **fields: object) -> None:
    """Log one request. ``began`` and ``first_byte`` are ``time.monotonic()`` as they happened."""
    log_fields(
        _access,
        logging.INFO,
        "request",
        **fields,
        milliseconds=_milliseconds(time.monotonic() - began),
        first_byte_milliseconds=None if first_byte is None else _milliseconds(first_byte - began),
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
