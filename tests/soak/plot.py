"""A plot of a soak run as SVG: memory of each process and the lag, over time."""

from collections.abc import Mapping, Sequence
from typing import Final

WIDTH: Final = 900
HEIGHT: Final = 300
LEFT: Final = 70
GAP: Final = 60
COLOURS: Final = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5fa8", "#b8860b", "#4d4d4d", "#008b8b", "#c05299")


def svg(title: str, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> str:
    """One panel under the other; each has lines by name, points of (minutes, value)."""
    height = 50 + len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 220}" height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16">{title}</text>',
    ]
    for position, (name, lines) in enumerate(panels.items()):
        parts.append(_panel(name, lines, 50 + position * (HEIGHT + GAP)))
    return "\n".join([*parts, "</svg>\n"])


def _panel(name: str, lines: Mapping[str, Sequence[tuple[float, float]]], top: int) -> str:
    last = max((x for points in lines.values() for x, _ in points), default=1.0) or 1.0
    highest = max((y for points in lines.values() for _, y in points), default=1.0) or 1.0
    inner = WIDTH - LEFT
    parts = [f'<text x="{LEFT}" y="{top + 12}">{name}</text>']
    for share in (0.0, 0.5, 1.0):
        y = top + HEIGHT - share * (HEIGHT - 30)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end">{share * highest:,.0f}</text>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = LEFT + share * inner
        parts.append(f'<text x="{x:.0f}" y="{top + HEIGHT + 16}" text-anchor="middle">{share * last:.0f} min</text>')
    for number, (label, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{LEFT + x / last * inner:.1f},{top + HEIGHT - y / highest * (HEIGHT - 30):.1f}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{line}"/>')
        parts.append(f'<text x="{WIDTH + 10}" y="{top + 40 + number * 18}" fill="{colour}">{label}</text>')
    return "\n".join(parts)
