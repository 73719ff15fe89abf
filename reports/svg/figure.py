"""Figure: a whole figure of plotly's as one SVG element."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from reports.svg import flow, marks, text
from reports.svg.axes import Axis, fitted, horizontal, vertical
from reports.svg.marks import Patterns, Trace
from reports.svg.text import number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

WIDE = 940.0  # pixels; a page that is narrower scales it
_SIDE, _GAP = 10.0, 12.0
_SCALE = 90.0  # for a scale of colours on the right
_ENTRY, _ROW, _KEY = 24.0, 22.0, 34.0  # between entries of a legend, of its lines, for its marks
_POINTS = frozenset({"scatter", "scattergl"})


class Pane(NamedTuple):
    """Two axes with what is drawn between them; `x` and `y` are their names in plotly."""

    x: str
    y: str
    traces: Sequence[Trace]


def drawn(figure: Figure) -> str:
    """Return a figure as an SVG element that takes the colours of its page.

    Raises:
        ValueError: it has a kind of trace that is not drawn here.
    """
    found = figure.to_dict()
    traces: list[Trace] = [
        {key: _unpacked(value) for key, value in trace.items()} for trace in found["data"]
    ]
    layout: Mapping[str, Any] = found["layout"]
    height = float(layout.get("height") or 420)
    kinds = {str(trace["type"]) for trace in traces}
    if unknown := kinds - _POINTS - {"bar", "contour", "sankey"}:
        raise ValueError(f"svg: no way to draw {', '.join(sorted(unknown))}. Add one to marks.")
    if "sankey" in kinds:
        inner = "".join(flow.drawn(trace, WIDE, height) for trace in traces)
    else:
        patterns = Patterns(f"p{crc32(str(found).encode()):x}")
        inner = _plots(traces, layout, height, patterns)
        inner = f"<defs>{patterns.defined()}</defs>{inner}" if patterns.known else inner
    box = f"0 0 {number(WIDE)} {number(height)}"
    return f'<svg viewBox="{box}" width="{number(WIDE)}" font-size="{text.SIZE:g}">{inner}</svg>'


def _unpacked(value: Any) -> Any:
    """Return a value of a trace; arrays are packed by plotly."""
    if not isinstance(value, dict):
        return value
    if "bdata" not in value:
        return {key: _unpacked(inner) for key, inner in value.items()}
    flat = np.frombuffer(b64decode(value["bdata"]), dtype=value["dtype"])
    shape = [int(size) for size in str(value.get("shape", flat.size)).split(",")]
    return flat.reshape(shape).tolist()


def _plots(
    traces: Sequence[Trace], layout: Mapping[str, Any], height: float, patterns: Patterns
) -> str:
    legend, top = _legend(traces, layout, patterns)
    top += max((text.height(a["text"]) for a in layout.get("annotations") or ()), default=0.0)
    plots = [
        Pane(x, y, [t for t in traces if t.get("xaxis", "x") == x and t.get("yaxis", "y") == y])
        for x, y in dict.fromkeys((t.get("xaxis", "x"), t.get("yaxis", "y")) for t in traces)
    ]
    axes = {name: _axis(name, traces, layout) for plot in plots for name in (plot.x, plot.y)}
    bottom = height - max(axes[plot.x].depth for plot in plots) - 4
    for name, axis in axes.items():
        if name.startswith("y"):
            axes[name] = axis.between(bottom, top)
    left = _SIDE + axes[plots[0].y].room
    scales = [trace for trace in traces if (trace.get("marker") or {}).get("colorbar")]
    for name, axis in axes.items():
        if name.startswith("x"):
            start, end = axis.said.get("domain") or (0, 1)
            right = WIDE - 2 * _SIDE - (_SCALE if scales else 0)
            axes[name] = Axis(axis.said, axis.low, axis.high, left, right)
            axes[name] = axes[name].between(axes[name].share(start), axes[name].share(end))
    parts = [legend, *(marks.colour_bar(t, WIDE - _SCALE, top, bottom) for t in scales)]
    for place, plot in enumerate(plots):
        x, y = _same_scale(axes[plot.x], axes[plot.y])
        shapes = _shapes(layout, plot, x, y)
        parts += [_ground(x, y, top, bottom), shapes.below]
        parts += _marks(plot, x, y, layout, patterns)
        parts += [shapes.above, *(_annotations(layout, x, y) if not place else ())]
    return "".join(parts)


def _axis(name: str, traces: Sequence[Trace], layout: Mapping[str, Any]) -> Axis:
    """Return an axis that holds all traces on it, and on those that it goes with."""
    letter = name[0]
    said = layout[_long(name)]
    together = {
        other
        for other in {t.get(f"{letter}axis", letter) for t in traces}
        if other == name
        or said.get("matches") == other
        or layout[_long(other)].get("matches") == name
    }
    mine = [t for t in traces if t.get(f"{letter}axis", letter) in together]
    is_long = any(
        t["type"] == "bar" and (t.get("orientation") == "h") == (letter == "x") for t in mine
    )
    return fitted(said, list(_extent(mine, letter)), from_zero=is_long)


def _extent(traces: Sequence[Trace], letter: str) -> Iterator[float]:
    for trace in traces:
        bars = trace.get(f"error_{letter}") or {}
        found = marks.values(trace.get(letter))
        ups = marks.values(bars.get("array")) or [0.0] * len(found)
        downs = marks.values(bars.get("arrayminus")) or [0.0] * len(found)
        for value, up, down in zip(found, ups, downs, strict=True):
            if value is not None:
                yield from (value - (down or 0.0), value + (up or 0.0))


def _long(name: str) -> str:
    """Return the name of an axis in a layout.

    >>> _long("x2")
    'xaxis2'
    """
    return f"{name[0]}axis{name[1:]}"


def _same_scale(x: Axis, y: Axis) -> tuple[Axis, Axis]:
    """Return axes on which a unit has the same length, where plotly was told so."""
    if not y.said.get("scaleanchor"):
        return x, y
    scales = [(axis.high - axis.low) / abs(axis.end - axis.start) for axis in (x, y)]
    widest = max(scales)

    def grown(axis: Axis) -> Axis:
        middle, half = (axis.low + axis.high) / 2, widest * abs(axis.end - axis.start) / 2
        return Axis(axis.said, middle - half, middle + half, axis.start, axis.end)

    return grown(x), grown(y)


def _ground(x: Axis, y: Axis, top: float, bottom: float) -> str:
    shown = vertical(y, x.start, x.end)
    return horizontal(x, top, bottom) + shown


def _marks(
    plot: Pane, x: Axis, y: Axis, layout: Mapping[str, Any], patterns: Patterns
) -> Iterator[str]:
    gap = float(layout.get("bargap", 0.2))
    stack: list[float] = []
    for trace in plot.traces:
        if trace["type"] in _POINTS:
            yield marks.scatter(trace, x, y)
            continue
        if trace["type"] == "contour":
            yield marks.shades(trace, x, y)
            continue
        if layout.get("barmode") != "stack" or not stack:
            stack = [0.0] * len(trace["x"])
        yield marks.bars(trace, x, y, below=stack, gap=gap, patterns=patterns)


class _Shapes(NamedTuple):
    below: str
    above: str


def _shapes(layout: Mapping[str, Any], plot: Pane, x: Axis, y: Axis) -> _Shapes:
    """Return bands, lines and rings of a plot, below and above what is drawn."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for shape in layout.get("shapes") or ():
        refs = str(shape.get("xref", "x")), str(shape.get("yref", "y"))
        if (refs[0].split()[0], refs[1].split()[0]) != (plot.x, plot.y):
            continue
        across, along = (
            [axis.share(shape[key]) if "domain" in ref else axis.at(shape[key]) for key in keys]
            for axis, ref, keys in zip((x, y), refs, (("x0", "x1"), ("y0", "y1")), strict=True)
        )
        is_below = shape.get("layer") == "below"
        found[is_below].append(_shape(shape, sorted(across), sorted(along)))
    return _Shapes("".join(found[True]), "".join(found[False]))


def _shape(shape: Mapping[str, Any], x: list[float], y: list[float]) -> str:
    if shape["type"] == "rect":
        box = "M{} {}H{}V{}H{}z".format(*map(number, (x[0], y[0], x[1], y[1], x[0])))
        return f'<path d="{box}" fill="{shape["fillcolor"]}" opacity="{shape["opacity"]}"/>'
    line = marks.stroke(shape["line"])
    if shape["type"] == "circle":
        middle = f'cx="{number(sum(x) / 2)}" cy="{number(sum(y) / 2)}"'
        radii = f'rx="{number((x[1] - x[0]) / 2)}" ry="{number((y[1] - y[0]) / 2)}"'
        return f"<ellipse {middle} {radii} {line}/>"
    return f'<path d="M{number(x[0])} {number(y[0])}L{number(x[1])} {number(y[1])}" {line}/>'


def _annotations(layout: Mapping[str, Any], x: Axis, y: Axis) -> Iterator[str]:
    sides: dict[str, text.TextSide] = {"bottom": "above", "top": "below"}
    for each in layout.get("annotations") or ():
        side = sides.get(each.get("yanchor", ""), "centred")
        look = ' class="named"'
        if ground := each.get("bgcolor"):
            wide, tall = text.width(each["text"]) + 8, text.height(each["text"]) + 6
            left, top = x.at(each["x"]) - wide / 2, y.at(each["y"]) - tall / 2
            box = f'x="{number(left)}" y="{number(top)}" width="{number(wide)}"'
            look = f' fill="{each["font"]["color"]}"'
            yield f'<rect {box} height="{number(tall)}" fill="{ground}"/>'
        yield text.drawn(
            each["text"],
            x.at(each["x"]),
            y.at(each["y"]),
            anchor="middle",
            side=side,
            more=look,
        )


def _legend(
    traces: Sequence[Trace], layout: Mapping[str, Any], patterns: Patterns
) -> tuple[str, float]:
    """Return the entries in as many lines as they need, and where the plot may start."""
    named = [t for t in traces if t.get("name") and t.get("showlegend", True) is not False]
    if layout.get("showlegend") is False or not named:
        return "", _GAP
    x, y = _SIDE, _ROW / 2
    parts = []
    for trace in named:
        wide = _KEY + text.width(trace["name"])
        if x > _SIDE and x + wide > WIDE - _SIDE:
            x, y = _SIDE, y + _ROW
        parts += [_key(trace, x, y, patterns), text.drawn(trace["name"], x + _KEY, y)]
        x += wide + _ENTRY
    return "".join(parts), y + _ROW / 2 + _GAP


def _key(trace: Trace, x: float, y: float, patterns: Patterns) -> str:
    """Return the mark of a trace in the legend."""
    if trace["type"] == "bar":
        box = f'x="{number(x + 8)}" y="{number(y - 6)}" width="18" height="12"'
        return f'<rect {box} fill="{patterns.fill(trace["marker"])}"/>'
    if trace.get("fill") == "toself":
        box = f'x="{number(x + 2)}" y="{number(y - 6)}" width="28" height="12"'
        return f'<rect {box} fill="{trace["fillcolor"]}"/>'
    marker, mode, parts = trace.get("marker") or {}, str(trace.get("mode")), []
    if "lines" in mode:
        line = marks.stroke(trace.get("line") or {})
        parts.append(f'<path d="M{number(x + 2)} {number(y)}h28" {line}/>')
    if "markers" in mode:
        symbol, colour = (marks.each(marker.get(key), 1)[0] for key in ("symbol", "color"))
        outline = marks.symbol_at(symbol, x + 16, y, 11)
        parts.append(f'<path d="{outline}" {marks.look_of(symbol, colour, marker)}/>')
    return "".join(parts)
