"""A run as one SVG: a panel of horizontal bars for the first measure of every series."""

from __future__ import annotations

from statistics import median
from xml.sax.saxutils import escape

from bench.report import number
from bench.results import Key, Results
from bench.targets import OURS

_WIDTH = 760
_LABEL = 130
_BAR = 20
_GAP = 6
_TITLE = 34
_COLOUR = {True: "#2a6f97", False: "#a9b4bd"}


def render(results: Results) -> str:
    """The chart. Our own bars stand out; a shorter bar is better where the title says so."""
    parts: list[str] = []
    top = 10
    for key in leading(results):
        drawn, height = _panel(key, results.samples[key], top)
        parts += drawn
        top += height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="13" fill="#222">\n'
        f'<rect width="{_WIDTH}" height="{top}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def leading(results: Results) -> list[Key]:
    """The measure that each scenario's variant is judged by."""
    chosen: dict[tuple[str, str], Key] = {}
    for key in results.samples:
        chosen.setdefault((key.scenario, key.variant), key)
    return list(chosen.values())


def _panel(key: Key, series: dict[str, list[float]], top: int) -> tuple[list[str], int]:
    better = "less" if key.measure.less_is_better else "more"
    title = " ".join(filter(None, [f"{key.scenario}:", key.variant, key.measure.name]))
    parts = [
        f'<text x="10" y="{top + 20}" font-weight="bold">'
        f"{escape(title)}, {escape(key.measure.unit)} ({better} is better)</text>"
    ]
    middles = {name: median(samples) for name, samples in series.items()}
    most = max(middles.values()) or 1.0
    for row, (name, value) in enumerate(middles.items()):
        y = top + _TITLE + row * (_BAR + _GAP)
        length = value / most * (_WIDTH - _LABEL - 100)
        parts += [
            f'<text x="{_LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{y}" width="{length:.1f}" height="{_BAR}" '
            f'fill="{_COLOUR[name == OURS]}"/>',
            f'<text x="{_LABEL + length + 6:.1f}" y="{y + 15}">{number(value)}</text>',
        ]
    return parts, _TITLE + len(middles) * (_BAR + _GAP) + 10
