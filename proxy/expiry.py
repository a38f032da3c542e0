"""Tells the log, every day, that the certificate is about to end."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime

from proxy.log import log_fields

logger = logging.getLogger(__name__)

_DAY_SECONDS = 86400.0

# The alert's; what renews a certificate does so 30 days ahead.
_DAYS_AHEAD = 14


async def watch(expires: float | None) -> None:
    """Do so until cancelled. ``expires`` is in seconds since the epoch; None: there is none."""
    if expires is None:
        return
    end = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
    while True:
        days = (expires - time.time()) / _DAY_SECONDS
        if days <= 0:
            log_fields(logger, logging.ERROR, "the certificate has ended", end=end)
        elif days <= _DAYS_AHEAD:
            message = "the certificate is about to end; a new one takes effect with a reload"
            log_fields(logger, logging.WARNING, message, end=end, days=round(days, 1))
        await asyncio.sleep(_DAY_SECONDS)
