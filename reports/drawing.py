"""Drawing: what the figures have in common, in plotly's terms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from harness.statistics.verdicts import Verdict
from reports import formats

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Okabe and Ito's colours, the blue lighter, so that each shows on white and on black; a shape and a
# word go with each.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#1A80BB", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
GREY = "#7F7F7F"
VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.BETTER: (BLUE, "triangle-up"),
    Verdict.EQUIVALENT: (GREEN, "diamond"),
    Verdict.INCONCLUSIVE: (GREY, "circle"),
    Verdict.WORSE: (VERMILLION, "triangle-down"),
}
LINES = (
    (BLUE, "circle", "solid"),
    (VERMILLION, "square", "dash"),
    (GREEN, "diamond", "dashdot"),
    (PURPLE, "triangle-up", "longdash"),
    (ORANGE, "triangle-down", "longdashdot"),
)
BAND: Mapping[str, Any] = {
    "fillcolor": GREY,
    "opacity": 0.16,
    "line_width": 0,
    "layer": "below",
}
# From a loss over grey to a win; pale enough for dark numbers on all of it.
DIVERGING = ((0.0, "#EA8F4E"), (0.5, "#DADADA"), (1.0, "#5DAEE0"))
INK = "#1B1F24"
_MOST_TICKS = 8
SIGNED = {"tickformat": "+.3~f", "labelalias": {"+0": "0"}}
_CLEAR = "rgba(0,0,0,0)"


def frame(*, height: int, columns: int = 1) -> Figure:
    """Return an empty figure on a clear ground, so that the page's light or dark shows through.

    Args:
        height: pixels.
        columns: plots side by side, on one vertical axis.
    """
    figure = deepcopy(_empty(columns))
    figure.layout.height = height
    return figure


@cache
def _empty(columns: int) -> Figure:
    """Return what `frame` copies: plotly takes fifteen times as long to make it."""
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=columns, shared_yaxes=True, horizontal_spacing=0.08)
    figure.update_layout(
        template="none",
        showlegend=True,
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        margin={"l": 10, "r": 20, "t": 10, "b": 10},
        font={"family": "'Source Sans', system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
        hovermode="closest",
    )
    axis = {"automargin": True, "gridcolor": "rgba(127,127,127,0.3)", "zeroline": False}
    title = {"title_standoff": 12, "title_font_size": 13}
    figure.update_xaxes(**axis, **title, zerolinecolor=GREY, zerolinewidth=2)
    figure.update_yaxes(**axis, **title, ticklabelstandoff=6)
    return figure


def label(text: str, *, length: int = 30) -> str:
    """Return text for plotly, which reads some HTML: escaped, and broken into short lines.

    >>> label("BAAI/bge-small <script>", length=10)
    'BAAI/bge-<br>small<br>&lt;script&gt;'
    """
    return "<br>".join(escape(line, quote=False) for line in formats.broken(text, length))


def verdict_look(answer: Verdict | None) -> dict[str, Any]:
    """Return colour, shape and word of a verdict; None is the baseline."""
    colour, symbol = (PURPLE, "square-open") if answer is None else VERDICTS[answer]
    size = 15 if answer is None else 11  # around what it coincides with
    return {
        "name": "baseline" if answer is None else str(answer),
        "mode": "markers",
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": size,
            "line_width": 2.5 * (answer is None),
        },
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def ink_on(colour: str) -> str:
    """Return the colour of text that shows on a colour.

    >>> ink_on(BLUE), ink_on(ORANGE)
    ('#FFFFFF', '#1B1F24')
    """
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "#FFFFFF"


def filled(colour: str, shape: str) -> dict[str, Any]:
    """Return the look of a bar: a colour, and a pattern that distinguishes it without colour."""
    pattern = {"shape": shape, "size": 6, "solidity": 0.2, "fillmode": "overlay"}
    return {"color": colour, "pattern": {**pattern, "fgcolor": "rgba(255,255,255,0.7)"}}


def bars(bounds: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Return plotly's error bars of (value, low, high); an unbounded interval gets none."""

    def length(size: float) -> float | None:
        return size if math.isfinite(size) else None

    return {
        "type": "data",
        "symmetric": False,
        "array": [length(high - value) for value, _, high in bounds],
        "arrayminus": [length(value - low) for value, low, _ in bounds],
        "thickness": 1.5,
        "width": 4,
    }


def log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis whose ticks are 1, 2 and 5, or only 1 over many decades."""
    low, high = math.log10(min(values)), math.log10(max(values))
    span = max(high - low, 0.5)
    short = (span - (high - low)) / 2
    # What is written stands right of a point.
    low, high = low - short - 0.1 * span, high + short + 0.2 * span
    decades = range(math.floor(low), math.ceil(high) + 1)
    every = [(decade + math.log10(step), step) for decade in decades for step in (1, 2, 5)]
    inside = [(place, step) for place, step in every if low <= place <= high]
    if len(inside) > _MOST_TICKS:
        inside = [(place, step) for place, step in inside if step == 1]
    ticks = [10**place for place, _ in inside]
    texts = [f"{tick / 1000:,.6g}k" if tick >= 1000 else f"{tick:.6g}" for tick in ticks]
    axis = {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": texts}
    return {**axis, "tickangle": 0}
