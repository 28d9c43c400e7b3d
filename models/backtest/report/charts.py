"""Plots as inline SVG that takes its colours from the page, so that one plot serves light and dark.

Values at points carry their text as a tooltip. Drawn for a width of about 420 pixels, and scaled from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, isfinite, log10

import numpy as np

from dualcast.arrays import Floats

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22
_MOST_LABELS = 8


@dataclass(frozen=True)
class _Frame:
    """Where values lie in a plot: ``count`` places from left to right, values from ``low`` to ``high``."""

    width: int
    height: int
    count: int
    low: float
    high: float

    def x(self, place: float) -> float:
        """The middle of a place."""
        return round(_LEFT + (place + 0.5) * (self.width - _LEFT - _RIGHT) / max(self.count, 1), 1)

    def y(self, value: float) -> float:
        """The height of a value."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM), 1)

    def axes(self, labels: Sequence[str]) -> Iterable[str]:
        """Horizontal lines at round values, and as many labels as there is room for."""
        for tick in _ticks(self.low, self.high):
            y = self.y(tick)
            yield f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{y}" y2="{y}"/>'
            yield f'<text class="y" x="{_LEFT - 5}" y="{y + 3.5}">{number(tick)}</text>'
        every = -(-len(labels) // _MOST_LABELS)
        for place in range(0, len(labels), every or 1):
            yield f'<text class="x" x="{self.x(place)}" y="{self.height - 6}">{escape(labels[place])}</text>'


def lines(title: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]], unit: str) -> str:
    """A line for each series over the same labels, from zero. The series' names are CSS classes."""
    known = [v for values in series.values() for v in values if v is not None]
    frame = _Frame(420, 230, len(labels), 0.0, max(known, default=1.0) * 1.08 or 1.0)
    parts = list(frame.axes(labels))
    for name, values in series.items():
        numbers = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
        parts.append(f'<path class="line {name}" d="{_path(frame, numbers)}"/>')
        parts += [
            f'<circle class="{name}" cx="{frame.x(i)}" cy="{frame.y(v)}" r="2.6">'
            f"<title>{escape(labels[i])}, {name}: {number(v)} {escape(unit)}</title></circle>"
            for i, v in enumerate(numbers.tolist())
            if isfinite(v)
        ]
    return _svg(title, frame, parts)


def columns(title: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]], unit: str) -> str:
    """A column for each label and series, from zero."""
    known = [v for values in series.values() for v in values if v is not None]
    frame = _Frame(420, 230, len(labels), 0.0, max(known, default=1.0) * 1.08 or 1.0)
    width = (frame.width - _LEFT - _RIGHT) / max(len(labels), 1) * 0.72 / max(len(series), 1)
    parts = list(frame.axes(labels))
    for k, (name, values) in enumerate(series.items()):
        for i, value in enumerate(values):
            if value is not None:
                x, y = frame.x(i) + (k - len(series) / 2) * width, frame.y(value)
                parts.append(
                    f'<rect class="{name}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{frame.y(0) - y:.1f}">'
                    f"<title>{escape(labels[i])}, {name}: {number(value)} {escape(unit)}</title></rect>"
                )
    return _svg(title, frame, parts)


def shares(title: str, labels: Sequence[str], values: Sequence[float], wanted: float) -> str:
    """A column in % with its number for each label, and a line at what is wanted."""
    frame = _Frame(420, 230, len(labels), 0.0, 100.0)
    half = min((frame.width - _LEFT - _RIGHT) / max(len(labels), 1) * 0.32, 26)
    parts = list(frame.axes(labels))
    for i, value in enumerate(values):
        x, y = frame.x(i), frame.y(value)
        parts.append(
            f'<rect class="forecast" x="{x - half:.1f}" y="{y}" width="{2 * half:.1f}" height="{frame.y(0) - y:.1f}"/>'
            f'<text class="x on" x="{x}" y="{frame.y(0) - 8}">{value:.1f}</text>'
        )
    y = frame.y(wanted)
    parts.append(f'<line class="wanted" x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{y}" y2="{y}"/>')
    return _svg(title, frame, parts)


def day(title: str, labels: Sequence[str], series: Mapping[str, Floats], low: Floats, high: Floats) -> str:
    """A day's lines over the band between two of them."""
    every = np.concatenate([low, high, *series.values()])
    bottom, top = float(np.nanmin(every)), float(np.nanmax(every))
    margin = (top - bottom) * 0.06 or 1.0
    frame = _Frame(420, 220, len(labels), bottom - margin, top + margin)
    edge = [f"{frame.x(i)},{frame.y(v)}" for i, v in enumerate(high.tolist())]
    edge += [f"{frame.x(i)},{frame.y(v)}" for i, v in reversed(list(enumerate(low.tolist())))]
    parts = [*frame.axes(labels), f'<polygon class="band" points="{" ".join(edge)}"/>']
    parts += [f'<path class="line {name}" d="{_path(frame, values)}"/>' for name, values in series.items()]
    return _svg(title, frame, parts)


def number(value: float) -> str:
    """A number as people read it: no more digits than it deserves.

    >>> number(1265.75), number(12.345), number(0.0312)
    ('1,266', '12.3', '0.031')
    """
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def _path(frame: _Frame, values: Floats) -> str:
    """A line through the known values, broken where one is unknown."""
    out, pen = [], "M"
    for i, value in enumerate(values.tolist()):
        if isfinite(value):
            out.append(f"{pen}{frame.x(i)} {frame.y(value)}")
        pen = "L" if isfinite(value) else "M"
    return "".join(out)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values."""
    rough = (high - low) / 4
    size = 10 ** floor(log10(rough))
    step = next(s for s in (size, 2 * size, 2.5 * size, 5 * size, 10 * size) if s >= rough * 0.8)
    first = -(-low // step)
    return [float((first + i) * step) for i in range(int((high - first * step) / step + 1e-9) + 1)]


def _svg(title: str, frame: _Frame, parts: Iterable[str]) -> str:
    head = f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{escape(title)}">'
    return head + "".join(parts) + "</svg>"
