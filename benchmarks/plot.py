"""Plots as SVG: panels under each other, lines by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 900
HEIGHT: Final = 300
LEFT: Final = 70
GAP: Final = 60
HEAD: Final = 50
COLOURS: Final = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5fa8", "#b8860b", "#4d4d4d", "#008b8b", "#c05299")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines of points (x, y) by name; both axes begin at 0. `by_ratio`: equal ratios of x are equally far apart, and each x has its own mark."""

    lines: Mapping[str, Points]
    unit: str = ""
    by_ratio: bool = False


def svg(title: str, panels: Mapping[str, Panel]) -> str:
    """The document; the names of the panels are their headings."""
    height = HEAD + len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 220}" height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16">{escape(title)}</text>',
    ]
    for position, (name, panel) in enumerate(panels.items()):
        parts += _panel(name, panel, HEAD + position * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>\n"])


def _panel(name: str, panel: Panel, top: int) -> list[str]:
    xs = sorted({x for points in panel.lines.values() for x, _ in points})
    highest = max((y for points in panel.lines.values() for _, y in points), default=1.0) or 1.0
    first, last = (xs[0], xs[-1]) if panel.by_ratio and xs else (0.0, xs[-1] if xs else 1.0)
    bottom, inner = top + HEIGHT, WIDTH - LEFT

    def place(x: float) -> float:
        if panel.by_ratio:
            return LEFT + (inner * math.log(x / first) / math.log(last / first) if last > first else 0.0)
        return LEFT + inner * x / (last or 1.0)

    parts = [f'<text x="{LEFT}" y="{top + 12}">{escape(name)}</text>']
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (HEIGHT - 30)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{_number(share * highest, highest)}</text>')
    for x in xs if panel.by_ratio else [last * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)]:
        parts.append(f'<text x="{place(x):.0f}" y="{bottom + 16}" text-anchor="middle">{_number(x, 10)}{escape(panel.unit)}</text>')
    for number, (label, points) in enumerate(panel.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{place(x):.1f},{bottom - y / highest * (HEIGHT - 30):.1f}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{line}"/>')
        parts.append(f'<text x="{WIDTH + 10}" y="{top + 40 + number * 18}" fill="{colour}">{escape(label)}</text>')
    return parts


def _number(value: float, highest: float) -> str:
    return f"{value:,.0f}" if highest >= 10 else f"{value:,.2f}"
