"""Axes: from values to pixels, and the ticks between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports.formats import MINUS
from reports.svg import text
from reports.svg.text import number

_TICKS = 5  # about so many
_ROOM = 0.06  # of the span, beyond the outermost values
_SMALLEST = 5e-324  # a tick far below may have come to 0
_GAP = 8.0  # between an axis and its labels
_TITLE_GAP = 12.0  # between the labels of a vertical axis and its title


@dataclass(frozen=True)
class Axis:
    """One axis in pixels.

    Attributes:
        said: the axis as plotly has it.
        low, high: the ends, in tens' logarithms where the axis is logarithmic; low may be above.
        start, end: pixels of the ends.
    """

    said: Mapping[str, Any]
    low: float
    high: float
    start: float = 0.0
    end: float = 1.0

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        return self._pixel(math.log10(max(value, _SMALLEST)) if self.is_log else value)

    def share(self, part: float) -> float:
        """Return the pixel of a share of the axis, 0 at its start."""
        return self.start + part * (self.end - self.start)

    def between(self, start: float, end: float) -> Axis:
        """Return the axis in other pixels."""
        return replace(self, start=start, end=end)

    @property
    def is_log(self) -> bool:
        """Whether values stand at their logarithms."""
        return self.said.get("type") == "log"

    @property
    def title(self) -> str:
        """What it measures, or nothing."""
        return str(self.said.get("title", {}).get("text") or "")

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Pixels of the ticks with their labels."""
        if self.said.get("tickvals") is not None:
            texts = self.said.get("ticktext")
            values = list(self.said["tickvals"])
            labels = [str(text) for text in (values if texts is None else texts)]
            return [(self.at(v), label) for v, label in zip(values, labels, strict=True)]
        step = _step(abs(self.high - self.low))
        low, high = sorted((self.low, self.high))
        places = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        return [(self._pixel(place * step), self._label(place * step, step)) for place in places]

    @property
    def has_labels(self) -> bool:
        """Whether its ticks are labelled."""
        return self.said.get("showticklabels") is not False

    @property
    def room(self) -> float:
        """Pixels that a vertical axis takes on its left."""
        labels = [text.width(label) for _, label in self.ticks] if self.has_labels else []
        title = text.height(self.title) + _TITLE_GAP if self.title else 0.0
        return max(labels, default=0.0) + _GAP + title

    @property
    def depth(self) -> float:
        """Pixels that a horizontal axis takes below."""
        labels = [text.height(label) for _, label in self.ticks] if self.has_labels else []
        title = text.height(self.title) + 6 if self.title else 0.0
        return max(labels, default=0.0) + _GAP + title

    def _pixel(self, place: float) -> float:
        span = self.high - self.low
        return self.share((place - self.low) / span if span else 0.5)

    def _label(self, value: float, step: float) -> str:
        pattern = str(self.said.get("tickformat") or f".{max(0, -math.floor(math.log10(step)))}f")
        shown = format(value, pattern.replace("~", ""))
        if "~" in pattern and "." in shown:
            shown = shown.rstrip("0").rstrip(".")
        shown = shown.lstrip("+-") if not shown.strip("+-0.%") else shown
        return shown.replace("-", MINUS)


def fitted(said: Mapping[str, Any], values: Sequence[float], *, from_zero: bool) -> Axis:
    """Return an axis that holds some values, unless plotly was given its range.

    Args:
        said: the axis as plotly has it.
        values: that it must hold.
        from_zero: it starts at 0.
    """
    if said.get("range") is not None:
        low, high = map(float, said["range"])
        return Axis(said, low, high)
    if said.get("type") == "log":
        values = [math.log10(value) for value in values if value > 0]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if said.get("rangemode") == "tozero" or from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = _ROOM * (high - low) or 0.5
    return Axis(
        said,
        low - room if low != 0 or not from_zero else 0.0,
        high + room if high != 0 or not from_zero else 0.0,
    )


def horizontal(axis: Axis, top: float, bottom: float) -> str:
    """Return a horizontal axis below a plot, with its grid."""
    parts = []
    for x, label in axis.ticks:
        if axis.said.get("showgrid") is not False:
            parts.append(_line("grid", x, top, x, bottom))
        if axis.has_labels:
            parts.append(text.drawn(label, x, bottom + _GAP, anchor="middle", side="below"))
    if axis.said.get("zeroline") and not axis.is_log and axis.low <= 0 <= axis.high:
        parts.append(_line("zero", axis.at(0), top, axis.at(0), bottom))
    if axis.title:
        middle = axis.share(0.5)
        y = bottom + axis.depth
        parts.append(text.drawn(axis.title, middle, y, anchor="middle", side="above"))
    return "".join(parts)


def vertical(axis: Axis, left: float, right: float) -> str:
    """Return a vertical axis on the left of a plot, with its grid."""
    parts = []
    for y, label in axis.ticks:
        if axis.said.get("showgrid") is not False:
            parts.append(_line("grid", left, y, right, y))
        if axis.has_labels:
            parts.append(text.drawn(label, left - _GAP, y, anchor="end"))
    if axis.said.get("zeroline") and not axis.is_log and axis.low <= 0 <= axis.high:
        parts.append(_line("zero", left, axis.at(0), right, axis.at(0)))
    if axis.title:
        x, y = left - axis.room + text.height(axis.title) / 2, axis.share(0.5)
        turned = f' transform="rotate(-90 {number(x)} {number(y)})"'
        parts.append(text.drawn(axis.title, x, y, anchor="middle", more=turned))
    return "".join(parts)


def _line(kind: str, x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path class="{kind}" d="M{number(x0)} {number(y0)}L{number(x1)} {number(y1)}"/>'


def _step(span: float) -> float:
    """Return a step of 1, 2 or 5 that makes about five parts of a span."""
    rough = (span or 1.0) / _TICKS
    unit = 10.0 ** math.floor(math.log10(rough))
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= rough * 0.999)
