"""Figures for those who gate: what so many queries can show, and how scores went over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.output.history import PastRun
from harness.statistics.power import minimum_detectable, queries_for_effect
from reports import drawing, formats

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_FEWEST, _POINTS = 10, 60


def planner(sd: float, queries: int, *, margin: float | None, metric: str) -> Figure:
    """Draw the smallest true difference that a number of queries shows with a power of 0.80.

    Args:
        sd: standard deviation of per-query differences.
        queries: the number to mark.
        margin: the difference that matters; None where nothing is said of it.
        metric: its text.
    """
    import plotly.graph_objects as go

    most = max(10 * queries, 20_000)
    fewest = min(queries, _FEWEST)
    counts = np.unique(np.geomspace(fewest, most, _POINTS).astype(int))
    figure = drawing.frame(height=340)
    figure.add_trace(
        go.Scatter(
            x=counts,
            y=detectable(sd, counts),
            mode="lines",
            name=f"detectable difference, sd {formats.mean(sd)}",
            line={"color": drawing.BLUE, "width": 2.5},
            hovertemplate="%{x:,} queries detect ±%{y:.3f}<extra></extra>",
        )
    )
    now = float(detectable(sd, [queries])[0])
    figure.add_trace(
        go.Scatter(
            x=[queries],
            y=[now],
            mode="markers+text",
            name="chosen number",
            text=[f"{queries:,} queries: ±{formats.mean(now)}"],
            textposition="top right",
            marker={"color": drawing.VERMILLION, "symbol": "diamond", "size": 12},
            hoverinfo="skip",
            cliponaxis=False,
        )
    )
    if margin is not None:
        figure.add_hline(margin, line={"color": drawing.GREY, "dash": "dot", "width": 1.5})
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="lines",
                line={"color": drawing.GREY, "dash": "dot", "width": 1.5},
                name=f"the margin, {formats.mean(margin)}",
            )
        )
    figure.update_xaxes(title_text="judged queries", **drawing.log_axis([fewest, most]))
    figure.update_yaxes(title_text=f"difference in {drawing.label(metric)}", rangemode="tozero")
    return figure


def needed(sd: float, difference: float) -> int:
    """Return how many queries show a true difference with a power of 0.80."""
    return queries_for_effect(sd, difference)


def detectable(sd: float, queries: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the minimum detectable effect of each number of queries, float64 [n].

    >>> detectable(0.2, [3140]).round(4).tolist()
    [0.01]
    """
    return minimum_detectable(sd / np.sqrt(np.asarray(queries, dtype=np.float64)))


def history(runs: Sequence[PastRun], collection: str, candidates: Sequence[str]) -> Figure:
    """Draw the deciding metric of some candidates over the runs of a suite.

    Runs on another content of the collection are parted by a line: they do not compare.

    Args:
        runs: oldest first, all with one metric.
        collection: name.
        candidates: to draw, five or fewer show best.
    """
    import plotly.graph_objects as go

    figure = drawing.frame(height=340)
    looks = drawing.LINES * (1 + len(candidates) // len(drawing.LINES))
    for name, (colour, symbol, dash) in zip(candidates, looks, strict=False):
        found = [
            (place, score)
            for place, run in enumerate(runs)
            for score in run.scores
            if (score.candidate, score.collection) == (name, collection)
        ]
        if found:
            figure.add_trace(
                go.Scatter(
                    x=[place for place, _ in found],
                    y=[score.mean for _, score in found],
                    error_y=drawing.bars([(s.mean, s.low, s.high) for _, s in found])
                    | {"thickness": 1, "width": 0},
                    name=drawing.label(name, length=40),
                    mode="lines+markers",
                    line={"color": colour, "dash": dash},
                    marker={"symbol": symbol, "size": 9, "color": colour},
                    customdata=[
                        f"{runs[place].time}<br>"
                        f"{formats.with_interval(s.mean, s.low, s.high)} n={s.n:,}"
                        for place, s in found
                    ],
                    hovertemplate="%{customdata}<extra></extra>",
                )
            )
    keys = [run.collections.get(collection) for run in runs]
    for place in range(1, len(runs)):
        if keys[place] != keys[place - 1]:
            line = {"color": drawing.VERMILLION, "dash": "dash", "width": 1.5}
            figure.add_vline(place - 0.5, line=line)
    step = max(1, math.ceil(len(runs) / 8))
    shown = list(range(0, len(runs), step))
    times = [runs[place].time.replace("T", "<br>").removesuffix("Z") for place in shown]
    figure.update_xaxes(tickvals=shown, ticktext=times, title_text="run, UTC")
    figure.update_xaxes(range=[-0.5, len(runs) - 0.5])
    metric = drawing.label(runs[-1].metric) if runs else ""
    figure.update_yaxes(title_text=metric)
    return figure
