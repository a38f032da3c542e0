"""Draws bars and curves as SVG, readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 900
_BAR, _GAP, _TOP, _LABELS, _VALUES = 16, 8, 44, 290, 110
_PLOT_HEIGHT, _LEFT, _BOTTOM, _LEGEND_LINE = 300, 64, 44, 20
_COLOURS = 8

_STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.faint { fill: #59636e; font-size: 12px }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.ours { fill: #0969da }
.other { fill: #8c959f }
.line { fill: none; stroke-width: 2 }
.c0 { stroke: #0969da; fill: #0969da } .c1 { stroke: #bc4c00; fill: #bc4c00 }
.c2 { stroke: #1a7f37; fill: #1a7f37 } .c3 { stroke: #8250df; fill: #8250df }
.c4 { stroke: #bf3989; fill: #bf3989 } .c5 { stroke: #9a6700; fill: #9a6700 }
.c6 { stroke: #57606a; fill: #57606a } .c7 { stroke: #0a7ea4; fill: #0a7ea4 }
path.line { fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.faint { fill: #9198a1 }
.grid { stroke: #3d444d }
.ours { fill: #4493f8 }
.other { fill: #656c76 }
.c0 { stroke: #4493f8; fill: #4493f8 } .c1 { stroke: #f0883e; fill: #f0883e }
.c2 { stroke: #3fb950; fill: #3fb950 } .c3 { stroke: #ab7df8; fill: #ab7df8 }
.c4 { stroke: #db61a2; fill: #db61a2 } .c5 { stroke: #d29922; fill: #d29922 }
.c6 { stroke: #9198a1; fill: #9198a1 } .c7 { stroke: #39c5cf; fill: #39c5cf }
path.line { fill: none }
}
"""


@dataclass(frozen=True)
class Bar:
    """One bar; `text` is what stands at its end."""

    label: str
    value: float
    text: str
    is_ours: bool = False


@dataclass(frozen=True)
class Curve:
    """One line through points whose coordinates are above 0."""

    label: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """A part of a picture, and its height."""

    body: str
    height: float


def bars(title: str, items: Sequence[Bar]) -> Panel:
    """Horizontal bars on a logarithmic scale that begins below the least."""
    values = [item.value for item in items if item.value > 0]
    if not values:
        return Panel("", 0)
    low, high = math.log10(min(values) / 2), math.log10(max(values))
    parts = [_text(0, 18, title, "title"), _text(WIDTH, 18, "logarithmic", "faint", "end")]
    room = WIDTH - _LABELS - _VALUES
    for number, item in enumerate(items):
        y = _TOP + number * (_BAR + _GAP)
        width = room * (math.log10(item.value) - low) / (high - low)
        kind = "ours" if item.is_ours else "other"
        parts.append(_text(_LABELS - 8, y + 13, item.label, "", "end"))
        parts.append(
            f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{width:.1f}" '
            f'height="{_BAR}" rx="2"/>'
        )
        parts.append(_text(_LABELS + width + 6, y + 13, item.text))
    return Panel("\n".join(parts), _TOP + len(items) * (_BAR + _GAP) + 16)


def curves(
    title: str, x_title: str, y_title: str, items: Sequence[Curve], ticks: dict[float, str]
) -> Panel:
    """Lines on logarithmic scales; `ticks` are those of the x axis, by what they stand for."""
    points = [point for item in items for point in item.points]
    if not points:
        return Panel("", 0)
    x_low, x_high = (math.log10(bound(x for x, _ in points)) for bound in (min, max))
    y_low = math.floor(math.log10(min(y for _, y in points)))
    y_high = max(math.ceil(math.log10(max(y for _, y in points))), y_low + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        right = (math.log10(x) - x_low) / (x_high - x_low or 1)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return _LEFT + right * (WIDTH - _LEFT - 20), _TOP + (1 - up) * _PLOT_HEIGHT

    parts = [_text(0, 18, title, "title"), _text(0, _TOP - 8, y_title, "faint")]
    for power in range(y_low, y_high + 1):
        _, y = place(points[0][0], 10.0**power)
        parts.append(_grid(_LEFT, y, WIDTH - 20, y))
        parts.append(_text(_LEFT - 8, y + 4, f"{10.0**power:g}", "faint", "end"))
    for at, label in ticks.items():
        if not x_low <= math.log10(at) <= x_high:
            continue
        x, _ = place(at, 10.0**y_low)
        parts.append(_grid(x, _TOP, x, _TOP + _PLOT_HEIGHT))
        parts.append(_text(x, _TOP + _PLOT_HEIGHT + 18, label, "faint", "middle"))
    parts.append(_text(WIDTH - 20, _TOP + _PLOT_HEIGHT + 36, x_title, "faint", "end"))
    for number, item in enumerate(items):
        colour = f"c{number % _COLOURS}"
        line = " L ".join("{:.1f} {:.1f}".format(*place(x, y)) for x, y in item.points)
        dashes = ' stroke-dasharray="6 4"' if item.dashed else ""
        parts.append(f'<path class="line {colour}"{dashes} d="M {line}"/>')
        y = _TOP + _PLOT_HEIGHT + _BOTTOM + 8 + number // 2 * _LEGEND_LINE
        x = _LEFT + number % 2 * WIDTH / 2
        parts.append(f'<path class="line {colour}"{dashes} d="M {x} {y + 2} h 22"/>')
        parts.append(_text(x + 30, y + 7, item.label))
    legend = (len(items) + 1) // 2 * _LEGEND_LINE
    return Panel("\n".join(parts), _TOP + _PLOT_HEIGHT + _BOTTOM + legend + 24)


def picture(panels: Sequence[Panel]) -> str:
    """Panels below each other, as one file."""
    parts, y = [], 12.0
    for panel in panels:
        parts.append(f'<g transform="translate(12 {y:.0f})">\n{panel.body}\n</g>')
        y += panel.height
    size = f'width="{WIDTH + 24}" height="{y:.0f}" viewBox="0 0 {WIDTH + 24} {y:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{_STYLE}</style>'
    return "\n".join([head, *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _grid(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
