"""Rows of cells as text, in columns as wide as their widest cell."""

from __future__ import annotations

from collections.abc import Sequence


def format_rows(headings: Sequence[str], rows: Sequence[Sequence[str | int]]) -> str:
    """The rows, a line each, below headings; numbers, and what is above them, to the right."""
    numeric = [isinstance(cell, int) for cell in (rows[0] if rows else headings)]
    lines = [headings, *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _text(cell: str | int) -> str:
    return f"{cell:,}" if isinstance(cell, int) else cell
