"""Curves: the learning curves of a run as a table, a figure and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.results.learning_curve import CurvePoint, LearningCurve, doubling, reach
from reports import drawing, formats
from reports.tables import Table, interval_head

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_BAND = "rgba(0,114,178,0.18)"


def table(curve: LearningCurve) -> Table:
    """Return a row per number of pairs: those trained on, and the forecast for more."""
    ahead = {2 * curve.largest, curve.horizon * curve.largest}
    rows = [*curve.points, *(point for point in curve.forecasts if point.pairs in ahead)]
    return Table(
        columns=(
            "pairs",
            "seen",
            interval_head("entropy"),
            interval_head(curve.metric),
            f"P(gain ≥ {curve.gain:g})",
        ),
        rows=tuple(
            (
                f"{point.pairs:,}",
                _what(point),
                formats.with_interval(point.entropy, point.entropy_low, point.entropy_high),
                formats.with_interval(point.score, point.score_low, point.score_high),
                f"{point.p_worthwhile:.2f}",
            )
            for point in rows
        ),
    )


def figure(curve: LearningCurve) -> Figure:
    """Draw entropy and metric by the number of pairs: what was trained, the fit and its band."""
    drawn = drawing.frame(height=420, columns=2)
    drawn.update_yaxes(matches=None, showticklabels=True)
    sides = (("entropy", "held-out entropy"), ("score", curve.metric))
    for column, (field, title) in enumerate(sides, start=1):
        for trace in _traces(curve, field):
            trace.showlegend = column == 1
            drawn.add_trace(trace, row=1, col=column)
        axis = drawing.log_axis([point.pairs for point in curve.forecasts])
        drawn.update_xaxes(title_text="training pairs", **axis, col=column)
        drawn.update_yaxes(title_text=title, col=column)
    return drawn


def caption(curve: LearningCurve) -> str:
    """Return the caption of `figure`."""
    over = f", mean of {len(curve.collections)} collections" if len(curve.collections) > 1 else ""
    return (
        f"'{curve.candidate}' trained once on growing parts of its {curve.largest:,} pairs. "
        f"Left: the contrastive entropy of {curve.held_out_pairs:,} held-out pairs "
        f"({curve.held_out}) among {curve.negatives} sampled documents, and the law "
        f"{curve.a:.3g} n^\u2212{curve.b:.2f} + {curve.c:.2f} fitted to it. Right: "
        f"{curve.metric} (n={curve.n:,}{over}) as it follows from the entropy. The bands hold "
        "95% for other held-out pairs, other queries and another training. "
        f"{reach(curve)} {doubling(curve)}"
    )


def _what(point: CurvePoint) -> str:
    if not point.pairs:
        return "the parent"
    return "trained" if point.seen else "forecast"


def _traces(curve: LearningCurve, field: str) -> list[Any]:
    import plotly.graph_objects as go

    ahead = curve.forecasts
    pairs = [point.pairs for point in ahead]
    low, high = (_values(ahead, f"{field}_{end}") for end in ("low", "high"))
    seen = [point for point in curve.points if point.pairs]
    inside = [point for point in ahead if point.pairs <= curve.largest]
    outside = [point for point in ahead if point.pairs >= curve.largest]
    band = go.Scatter(
        x=[*pairs, *reversed(pairs)],
        y=[*low, *reversed(high)],
        fill="toself",
        fillcolor=_BAND,
        line={"width": 0},
        hoverinfo="skip",
        name="95% band",
    )
    lines = [
        _line(points, field, name, dash)
        for points, name, dash in ((inside, "fitted", "solid"), (outside, "forecast", "dash"))
    ]
    bounds = zip(
        _values(seen, field),
        _values(seen, f"{field}_low"),
        _values(seen, f"{field}_high"),
        strict=True,
    )
    points = go.Scatter(
        x=[point.pairs for point in seen],
        y=_values(seen, field),
        error_y=drawing.bars(list(bounds)),
        mode="markers",
        marker={"color": drawing.VERMILLION, "symbol": "square", "size": 9},
        customdata=[_text(point, field) for point in seen],
        hovertemplate="%{customdata}<extra></extra>",
        name="trained",
    )
    return [band, *lines, points]


def _line(points: Sequence[CurvePoint], field: str, name: str, dash: str) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=[point.pairs for point in points],
        y=_values(points, field),
        mode="lines",
        line={"color": drawing.BLUE, "dash": dash},
        customdata=[_text(point, field) for point in points],
        hovertemplate="%{customdata}<extra></extra>",
        name=name,
    )


def _values(points: Sequence[CurvePoint], field: str) -> list[float]:
    return [getattr(point, field) for point in points]


def _text(point: CurvePoint, field: str) -> str:
    value, low, high = (getattr(point, name) for name in (field, f"{field}_low", f"{field}_high"))
    return f"{point.pairs:,} pairs, {_what(point)}<br>{formats.with_interval(value, low, high)}"
