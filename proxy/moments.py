"""Moments as people write them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse(text: str, now: datetime) -> datetime:
    """``2026-11-30``, ``2026-11-30T12:00``, UTC unless it says otherwise; or ``7d``: so long ago.

    Raises ``ValueError``.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no moment: write 2026-11-30, 2026-11-30T12:00 (UTC), "
            "or 90m, 24h, 7d or 4w for so long ago"
        ) from None
