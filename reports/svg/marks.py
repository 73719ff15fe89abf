"""Marks: points, lines and bars between two axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from reports.formats import MINUS
from reports.svg import text
from reports.svg.axes import Axis
from reports.svg.text import number

Trace = Mapping[str, Any]
_DASHES = {
    "dash": "9 6",
    "dot": "2 4",
    "dashdot": "9 4 2 4",
    "longdash": "15 6",
    "longdashdot": "15 4 2 4",
}
_HOVER = "%{customdata}<extra></extra>"
_WHITE = "rgba(255,255,255,0.7)"
_TILE = 6
_STEPS, _LEVELS = 20, 6  # of a scale of colours, of shades
_PATTERNS = {
    "/": "M-1 1L1 -1M0 6L6 0M5 7L7 5",
    "\\": "M-1 5L1 7M0 0L6 6M5 -1L7 1",
    "x": "M0 0L6 6M6 0L0 6",
    "-": "M0 3H6",
    "+": "M0 3H6M3 0V6",
    ".": "M2 3h2",
}


def values(found: Any) -> list[float | None]:
    """Return the coordinates of a trace; None where a line is interrupted."""
    return [
        None if value is None or not math.isfinite(value) else float(value) for value in found or ()
    ]


def each(found: Any, size: int) -> list[Any]:
    """Return a value for every point, of a list or of one that holds for all."""
    if isinstance(found, str) or not hasattr(found, "__len__"):
        return [found] * size
    return list(found)


@dataclass
class Patterns:
    """The patterns of bars; each is defined once in a figure."""

    prefix: str
    known: dict[tuple[str, str], str] = field(default_factory=dict)

    def fill(self, marker: Mapping[str, Any]) -> str:
        """Return what fills a bar."""
        colour, shape = marker["color"], (marker.get("pattern") or {}).get("shape", "")
        if not shape:
            return str(colour)
        key = self.known.setdefault((colour, shape), f"{self.prefix}-{len(self.known)}")
        return f"url(#{key})"

    def defined(self) -> str:
        """Return the definitions of those in use."""
        return "".join(
            f'<pattern id="{key}" width="{_TILE}" height="{_TILE}" patternUnits="userSpaceOnUse">'
            f'<rect width="{_TILE}" height="{_TILE}" fill="{colour}"/>'
            f'<path d="{_PATTERNS[shape]}" stroke="{_WHITE}" fill="none"/></pattern>'
            for (colour, shape), key in self.known.items()
        )


def scatter(trace: Trace, x: Axis, y: Axis) -> str:
    """Return lines, intervals, points and texts of a trace."""
    places = [
        (x.at(a), y.at(b)) if a is not None and b is not None else None
        for a, b in zip(values(trace.get("x")), values(trace.get("y")), strict=True)
    ]
    mode = str(trace.get("mode", ""))
    parts = []
    if trace.get("fill") == "toself":
        outline = _path([place for place in places if place])
        parts.append(f'<path d="{outline}z" fill="{trace["fillcolor"]}"/>')
    elif "lines" in mode:
        parts.append(_lines(trace, places))
    parts += [_intervals(trace, places, x, y)]
    if "markers" in mode:
        parts.append(_points(trace, places))
    if "text" in mode:
        parts.append(_texts(trace, places))
    return "".join(parts)


Place = tuple[float, float]


def _lines(trace: Trace, places: Sequence[Place | None]) -> str:
    line = trace.get("line") or {}
    draw = _steps if line.get("shape") == "hv" else _path
    runs = [
        draw([place for place in run if place])
        for is_drawn, run in groupby(places, key=bool)
        if is_drawn
    ]
    return f'<path d="{"".join(runs)}" {stroke(line)}/>' if runs else ""


def stroke(line: Mapping[str, Any]) -> str:
    """Return the attributes of a line."""
    dash = _DASHES.get(line.get("dash") or "")
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    thick = number(line.get("width", 2))
    return f'fill="none" stroke="{line.get("color")}" stroke-width="{thick}"{dashed}'


def _path(places: Sequence[Place]) -> str:
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in places)


def _steps(places: Sequence[Place]) -> str:
    first, *others = places
    steps = "".join(f"H{number(x)}V{number(y)}" for x, y in others)
    return f"M{number(first[0])} {number(first[1])}{steps}"


def _intervals(trace: Trace, places: Sequence[Place | None], x: Axis, y: Axis) -> str:
    """Return the error bars, each with its ends."""
    drawn = []
    colour = (trace.get("marker") or {}).get("color") or (trace.get("line") or {}).get("color")
    for key, axis in (("x", x), ("y", y)):
        bars = trace.get(f"error_{key}") or {}
        ups, downs = values(bars.get("array")), values(bars.get("arrayminus"))
        cap = bars.get("width", 4)
        for place, value, up, down in zip(places, values(trace[key]), ups, downs, strict=False):
            if place is None or value is None or up is None or down is None:
                continue
            low, high = axis.at(value - down), axis.at(value + up)
            other = place[1] if key == "x" else place[0]
            drawn += [_bar(key, low, high, other), *(_end(key, e, other, cap) for e in (low, high))]
        if drawn:
            return f'<path d="{"".join(drawn)}" {stroke({"color": colour, "width": 1.5})}/>'
    return ""


def _bar(key: str, low: float, high: float, other: float) -> str:
    if key == "x":
        return f"M{number(low)} {number(other)}H{number(high)}"
    return f"M{number(other)} {number(low)}V{number(high)}"


def _end(key: str, end: float, other: float, cap: float) -> str:
    if not cap:
        return ""
    if key == "x":
        return f"M{number(end)} {number(other - cap)}v{number(2 * cap)}"
    return f"M{number(other - cap)} {number(end)}h{number(2 * cap)}"


def _points(trace: Trace, places: Sequence[Place | None]) -> str:
    """Return the points: each by itself where hovering says something, else all in one path."""
    marker, size = trace.get("marker") or {}, len(places)
    found = zip(
        places,
        each(marker.get("symbol"), size),
        _colours(marker, size),
        each(marker.get("size", 6), size),
        each(trace.get("customdata") if trace.get("hovertemplate") == _HOVER else None, size),
        strict=True,
    )
    by_look: dict[str, list[str]] = {}
    alone = []
    for place, symbol, colour, diameter, said in found:
        if place is None:
            continue
        look, outline = look_of(symbol, colour, marker), symbol_at(symbol, *place, diameter)
        if not said and symbol in {None, "circle"}:  # the end of a line is a shorter circle
            thin = f' opacity="{marker["opacity"]}"' if marker.get("opacity") is not None else ""
            look = f'stroke="{colour}" stroke-width="{diameter}" stroke-linecap="round"{thin}'
            outline = f"M{number(place[0])} {number(place[1])}h0"
        if said:
            alone.append(f'<path d="{outline}" {look}>{text.tooltip(said)}</path>')
        else:
            by_look.setdefault(look, []).append(outline)
    together = (f'<path d="{"".join(each)}" {look}/>' for look, each in by_look.items())
    return "".join([*alone, *together])


def _colours(marker: Mapping[str, Any], size: int) -> list[Any]:
    """Return a colour for each point; those of a scale in steps, so that few paths draw many."""
    colours = each(marker.get("color"), size)
    if not marker.get("colorscale"):
        return colours
    low, high = marker["cmin"], marker["cmax"]
    shares = [(value - low) / ((high - low) or 1) for value in colours]
    return [on_scale(marker["colorscale"], round(_STEPS * share) / _STEPS) for share in shares]


def on_scale(scale: Sequence[Sequence[Any]], share: float) -> str:
    """Return the colour at a share of a scale of colours.

    >>> on_scale([[0, "#000000"], [1, "#ff8000"]], 0.5)
    '#804000'
    """
    share = min(max(share, 0.0), 1.0)
    at = next(i for i in range(1, len(scale)) if share <= scale[i][0] or i == len(scale) - 1)
    (start, first), (end, last) = scale[at - 1], scale[at]
    part = (share - start) / ((end - start) or 1)
    pairs = ((int(first[i : i + 2], 16), int(last[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + part * (b - a)):02x}" for a, b in pairs)


def colour_bar(trace: Trace, x: float, top: float, bottom: float) -> str:
    """Return the scale of colours of a trace, with its title and three values."""
    marker = trace["marker"]
    low, high = marker["cmin"], marker["cmax"]
    tall = (bottom - top) / _STEPS
    parts = []
    for step in range(_STEPS):
        colour = on_scale(marker["colorscale"], (step + 0.5) / _STEPS)
        box = f'x="{number(x)}" y="{number(bottom - (step + 1) * tall)}" width="12"'
        parts.append(f'<rect {box} height="{number(tall + 0.5)}" fill="{colour}"/>')
    for share in (0.0, 0.5, 1.0):
        value = f"{low + share * (high - low):.2f}".replace("-", MINUS)
        parts.append(text.drawn(value, x + 16, bottom - share * (bottom - top)))
    title = marker["colorbar"].get("title", {}).get("text") or ""
    middle = f"{number(x + 64)} {number((top + bottom) / 2)}"
    turned = f' transform="rotate(-90 {middle})"'
    place = x + 64, (top + bottom) / 2
    return "".join([*parts, text.drawn(title, *place, anchor="middle", more=turned)])


def shades(trace: Trace, x: Axis, y: Axis) -> str:
    """Return cells that are the darker, the higher their value."""
    xs, ys, rows = trace["x"], trace["y"], trace["z"]
    most = max(map(max, rows)) or 1
    wide, tall = (abs(axis.at(v[1]) - axis.at(v[0])) for axis, v in ((x, xs), (y, ys)))
    by_level: dict[int, list[str]] = {}
    for b, row in zip(ys, rows, strict=True):
        for a, value in zip(xs, row, strict=True):
            left, top = number(x.at(a) - wide / 2), number(y.at(b) - tall / 2)
            cell = f"M{left} {top}h{number(wide)}v{number(tall)}h-{number(wide)}z"
            by_level.setdefault(int(_LEVELS * value / most), []).append(cell)
    return "".join(
        f'<path d="{"".join(cells)}" fill="rgba(127,127,127,{0.45 * level / _LEVELS:.2f})"/>'
        for level, cells in sorted(by_level.items())
        if level
    )


def look_of(symbol: str | None, colour: str, marker: Mapping[str, Any]) -> str:
    """Return the attributes of a point."""
    line = marker.get("line") or {}
    thin = f' opacity="{marker["opacity"]}"' if marker.get("opacity") is not None else ""
    if symbol and (symbol == "x" or symbol.endswith("-open")):
        thick = number(line.get("width") or 2)
        return f'fill="none" stroke="{colour}" stroke-width="{thick}"{thin}'
    return f'fill="{colour}"{thin}'


def symbol_at(symbol: str | None, x: float, y: float, size: float) -> str:
    """Return the outline of a symbol, by default a circle, around a place."""
    draw = _SYMBOLS[(symbol or "circle").removesuffix("-open")]
    return f"M{number(x)} {number(y)}{draw(size / 2)}"


def _circle(r: float) -> str:
    d = number(2 * r)
    return (
        f"m{number(-r)} 0a{number(r)} {number(r)} 0 1 0 {d} 0a{number(r)} {number(r)} 0 1 0 -{d} 0z"
    )


def _square(r: float) -> str:
    return f"m{number(-r)} {number(-r)}h{number(2 * r)}v{number(2 * r)}h{number(-2 * r)}z"


def _diamond(r: float) -> str:
    d = number(1.3 * r)
    return f"m-{d} 0l{d} -{d}l{d} {d}l-{d} {d}z"


def _triangle(r: float, up: int) -> str:
    half, down = 1.15 * r, up * 0.6 * r
    tip = -up * 1.7 * r
    return f"m{number(-half)} {number(down)}h{number(2 * half)}l{number(-half)} {number(tip)}z"


def _cross(r: float) -> str:
    a, b = number(-r), number(2 * r)
    return f"m{a} {a}l{b} {b}m-{b} 0l{b} -{b}"


_SYMBOLS: Mapping[str, Callable[[float], str]] = {
    "circle": _circle,
    "square": _square,
    "diamond": _diamond,
    "triangle-up": lambda r: _triangle(r, 1),
    "triangle-down": lambda r: _triangle(r, -1),
    "x": _cross,
}


def _texts(trace: Trace, places: Sequence[Place | None]) -> str:
    """Return the texts beside points."""
    size = len(places)
    labels, positions = (each(trace.get(key), size) for key in ("text", "textposition"))
    wanted = zip(places, labels, positions, strict=True)
    has_points = "markers" in str(trace.get("mode"))
    away = (float((trace.get("marker") or {}).get("size", 6)) / 2 + 2) * has_points
    drawn = []
    for place, label, position in wanted:
        if place is None or not label:
            continue
        high, _, wide = str(position or "middle center").partition(" ")
        anchor: text.Anchor = {"left": "end", "right": "start"}.get(wide, "middle")  # type: ignore[assignment]
        side: text.TextSide = {"top": "above", "bottom": "below"}.get(high, "centred")  # type: ignore[assignment]
        right = {"start": away, "end": -away}.get(anchor, 0.0)
        down = {"above": -away / 2, "below": away / 2}.get(side, 0.0)
        x, y = place[0] + right, place[1] + down
        drawn.append(text.drawn(label, x, y, anchor=anchor, side=side, more=' class="named"'))
    return "".join(drawn)


def bars(
    trace: Trace, x: Axis, y: Axis, *, below: list[float], gap: float, patterns: Patterns
) -> str:
    """Return the bars of a trace.

    Args:
        trace: with one value a bar.
        x: horizontal axis.
        y: vertical axis.
        below: where each bar starts, which is moved to its end.
        gap: between two bars, as a share of their distance.
        patterns: of the figure.
    """
    lies = trace.get("orientation") == "h"
    along, across = (x, y) if lies else (y, x)
    lengths = values(trace["x" if lies else "y"])
    rows = values(trace["y" if lies else "x"])
    half = (1 - gap) / 2
    fill = patterns.fill(trace["marker"])
    said = each(
        trace.get("customdata") if trace.get("hovertemplate") == _HOVER else None, len(rows)
    )
    labels = each(trace.get("text"), len(rows))
    font = trace.get("insidetextfont") or {}
    outlines, texts, alone = [], [], []
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if row is None or not length:
            continue
        start, end = along.at(below[place]), along.at(below[place] + length)
        below[place] += length
        near, far = across.at(row - half), across.at(row + half)
        box = (start, near, end, far) if lies else (near, start, far, end)
        outline = "M{} {}H{}V{}H{}z".format(*map(number, (*box, box[0])))
        if said[place]:
            alone.append(f'<path d="{outline}" fill="{fill}">{text.tooltip(said[place])}</path>')
        else:
            outlines.append(outline)
        if labels[place]:
            middle = (start + end) / 2, (near + far) / 2
            ink = f' fill="{font.get("color")}"'
            texts.append(text.drawn(labels[place], *middle, anchor="middle", more=ink))
    together = [f'<path d="{"".join(outlines)}" fill="{fill}"/>'] if outlines else []
    return "".join([*together, *alone, *texts])
