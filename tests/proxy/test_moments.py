"""Moments are read as people write them."""

from datetime import UTC, datetime

import pytest

from proxy import moments

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T10:30", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("2026-11-01T10:30+02:00", datetime(2026, 11, 1, 8, 30, tzinfo=UTC)),
        ("90m", datetime(2026, 11, 30, 10, 30, tzinfo=UTC)),
        ("24h", datetime(2026, 11, 29, 12, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 16, 12, tzinfo=UTC)),
    ],
)
def test_dates_times_and_so_long_ago(text: str, expected: datetime) -> None:
    assert moments.parse(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "5", "-1h", "2026-13-01", "999999w"])
def test_others_are_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write 2026-11-30"):
        moments.parse(text, NOW)
