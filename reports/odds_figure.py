"""Odds: which reasons mark the queries that fail, as odds ratios with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.diagnosis.values import Finding
from reports import drawing
from reports.diagnosis_tables import odds
from reports.wording import joined

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ROW_PX, _MARGINS_PX = 34, 110
_LABEL = 46
_LOOKS: Mapping[str, tuple[str, str]] = {
    "confirmed": (drawing.VERMILLION, "diamond"),
    "supported": (drawing.BLUE, "circle"),
    "associated": (drawing.ORANGE, "square"),
    "more frequent among hits": (drawing.PURPLE, "triangle-down"),
    "refuted": (drawing.GREEN, "x"),
    "not significant": (drawing.GREY, "circle-open"),
}
_LARGEST, _SMALLEST = 1000.0, 0.001  # beyond this an interval says no more


def draw_odds(findings: Sequence[Finding]) -> Figure:
    """Draw the odds ratio of every reason, misses against hits, on a logarithmic axis.

    Args:
        findings: in the order of the rows.
    """
    figure = drawing.frame(height=_ROW_PX * len(findings) + _MARGINS_PX)
    if not findings:
        return figure
    for status, look in _LOOKS.items():
        mine = [(row, each) for row, each in enumerate(findings) if each.status == status]
        if mine:
            figure.add_trace(_points(status, look, mine))
    labels = [drawing.label(each.title, length=_LABEL) for each in findings]
    rows = list(range(len(findings)))
    figure.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5])
    values = [_kept(value) for each in findings for value in (each.low, each.high, 1.0)]
    figure.update_xaxes(title_text="odds ratio, misses against hits", **drawing.log_axis(values))
    figure.add_vline(x=1, line_color=drawing.GREY, line_width=2)
    return figure


def odds_caption(findings: Sequence[Finding]) -> str:
    """Return the caption of `draw_odds`."""
    more = [each.title for each in findings if each.low > 1 and each.p_adjusted <= 0.05]
    clear = (
        f"Clear over all reasons: {joined(more)}." if more else "None is clear over all reasons."
    )
    return (
        "Odds of each reason among misses relative to hits, with the 95% interval for that reason "
        f"alone; right of 1 is more frequent among misses. {clear}"
    )


def _points(status: str, look: tuple[str, str], mine: Sequence[tuple[int, Finding]]) -> Any:
    import plotly.graph_objects as go

    bounds = [tuple(map(_kept, (each.odds_ratio, each.low, each.high))) for _, each in mine]
    colour, symbol = look
    return go.Scatter(
        x=[value for value, _, _ in bounds],
        y=[row for row, _ in mine],
        error_x=drawing.bars([(value, low, high) for value, low, high in bounds]),
        name=status,
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 11},
        customdata=[f"{drawing.label(each.title)}<br>{odds(each)}, {status}" for _, each in mine],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _kept(value: float) -> float:
    if not math.isfinite(value):
        return _LARGEST
    return min(max(value, _SMALLEST), _LARGEST)
