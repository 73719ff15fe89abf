"""Figures of two candidates query by query: sorted differences, joint values, and rank changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Values
from harness.statistics import TIE
from harness.statistics.verdicts import Verdict
from reports import drawing, formats

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MOST_BARS = 2_000  # more are drawn as points: a browser takes seconds for so many bars
_MOST_PATTERNS = 400  # narrower bars would show nothing of a pattern
_BINS = 20
_TITLE = 28
_ROW_PX, _MARGINS_PX = 34, 60


def waterline(differences: Values, *, metric: str) -> Figure:
    """Draw the difference of every query, from the largest gain to the largest loss.

    Every point carries the row of its query as customdata, so that a click leads to it.

    Args:
        differences: float64 [n_queries], second minus first.
        metric: its text.
    """
    order = np.argsort(-differences, kind="stable")
    found = differences[order]
    figure = drawing.frame(height=300)
    is_tie = np.abs(found) < TIE
    for rows, word, answer in (
        (np.flatnonzero((found > 0) & ~is_tie), "better", Verdict.BETTER),
        (np.flatnonzero(is_tie), "tied", Verdict.INCONCLUSIVE),
        (np.flatnonzero((found < 0) & ~is_tie), "worse", Verdict.WORSE),
    ):
        if len(rows):
            colour, symbol = drawing.VERDICTS[answer]
            water = _Water(f"{word} on {len(rows):,}", rows, colour, symbol)
            figure.add_trace(_water(water, found, order))
    figure.update_xaxes(
        title_text=f"{len(found):,} queries, the largest gain first",
        showticklabels=False,
        showgrid=False,
        range=[-0.5, max(len(found) - 0.5, 0.5)],
    )
    figure.update_yaxes(
        title_text=drawing.label(f"difference in {metric}", length=60),
        **drawing.SIGNED,
        zeroline=True,
        zerolinecolor=drawing.GREY,
    )
    figure.update_layout(bargap=0.0, dragmode=False)
    return figure


class _Water(NamedTuple):
    """Queries of one kind: their word, their places in the order, their look."""

    name: str
    rows: npt.NDArray[np.int64]
    colour: str
    symbol: str


def _water(water: _Water, found: Values, order: npt.NDArray[np.int64]) -> Any:
    import plotly.graph_objects as go

    shared = {
        "x": water.rows,
        "y": found[water.rows].round(4),
        "customdata": order[water.rows],
        "name": water.name,
        "hovertemplate": "%{y:+.3f}: click to see the query<extra></extra>",
    }
    marker = {"color": water.colour, "symbol": water.symbol}
    if len(found) > MOST_BARS:
        return go.Scattergl(**shared, mode="markers", marker={**marker, "size": 5})
    if not found[water.rows].any():  # a bar of no height could not be clicked
        return go.Scatter(**shared, mode="markers", marker={**marker, "size": 4})
    is_loss = found[water.rows[0]] < 0
    shape = "/" if is_loss and len(found) <= _MOST_PATTERNS else ""
    return go.Bar(**shared, marker={**drawing.filled(water.colour, shape), "line_width": 0})


def agreement(first: Values, second: Values, *, names: tuple[str, str], metric: str) -> Figure:
    """Draw how many queries have each pair of values.

    Args:
        first: float64 [n_queries], values of one candidate, between 0 and 1.
        second: the same of the other.
        names: of the two.
        metric: its text.
    """
    import plotly.graph_objects as go

    counts, *_ = np.histogram2d(second, first, bins=_BINS, range=[[0, 1], [0, 1]])
    middles = (np.arange(_BINS) + 0.5) / _BINS
    figure = drawing.frame(height=420)
    shown = np.where(counts > 0, np.log10(np.maximum(counts, 1)), np.nan)
    ticks = [10**power for power in range(6) if 10**power <= max(counts.max(), 1)]
    figure.add_trace(
        go.Heatmap(
            x=middles,
            y=middles,
            z=shown,
            customdata=counts,
            colorscale=[[0, "rgba(26,128,187,0.22)"], [1, drawing.BLUE]],
            zmin=0,
            zmax=max(float(np.log10(max(counts.max(), 1))), 0.1),
            hovertemplate="%{x:.2f} and %{y:.2f}: %{customdata} queries<extra></extra>",
            colorbar={
                "title": {"text": "queries"},
                "tickvals": [float(np.log10(tick)) for tick in ticks],
                "ticktext": [f"{tick:,}" for tick in ticks],
                "thickness": 12,
            },
        )
    )
    line = {"color": drawing.GREY, "dash": "dot", "width": 1.5}
    figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=line)
    titles = [drawing.label(f"{metric} of {name}", length=40) for name in names]
    figure.update_xaxes(title_text=titles[0], range=[0, 1], tickformat=".1f", showgrid=False)
    figure.update_yaxes(title_text=titles[1], range=[0, 1], tickformat=".1f", showgrid=False)
    figure.update_layout(showlegend=False)
    return figure


class RankPair(NamedTuple):
    """A document in two rankings, ranks from 1; None beyond what is stored."""

    document: str
    title: str
    first: int | None
    second: int | None
    grade: int | None

    @property
    def ranks(self) -> tuple[int | None, int | None]:
        """Where it stands in each."""
        return self.first, self.second


def rank_changes(
    places: Sequence[RankPair], *, names: tuple[str, str], stored: tuple[int, int], k: int
) -> Figure:
    """Draw where documents stand in two rankings, relevant ones in bold.

    A document beyond rank k stands on one of the rows below, with its rank.

    Args:
        places: documents that are among the first k of a ranking, or relevant.
        names: of the two candidates.
        stored: ranks of each that are known of every document.
        k: ranks drawn one by one.
    """
    rows = _Rows(places, k)
    figure = drawing.frame(height=round(_ROW_PX * (rows.lowest + 1)) + _MARGINS_PX)
    for look in _LOOKS:
        mine = [place for place in places if _kind(place.grade) == look.name]
        if mine:
            figure.add_trace(_changes(mine, rows, look, stored))
    import plotly.graph_objects as go

    figure.add_trace(go.Scatter(x=[None], y=[None], yaxis="y2", showlegend=False))
    sides = (("yaxis", "right", "left"), ("yaxis2", "left", "right"))
    for x, (axis, anchor, side) in enumerate(sides):
        found = {
            "tickvals": [rows.of(x, place) for place in places],
            "ticktext": [_side_label(place, _rank(place, x, stored), anchor) for place in places],
            "range": [rows.lowest + 0.7, 0.3],
            "side": side,
            "overlaying": "y" if x else None,
            "automargin": True,
            "tickfont_size": 12,
            "ticklabelstandoff": 4,
            "showgrid": False,
            "zeroline": False,
        }
        figure.update_layout({axis: found})
        figure.add_annotation(
            x=x,
            y=1.0,
            yref="paper",
            xanchor=anchor,
            yanchor="bottom",
            text=f"<b>{drawing.label(names[x], length=30)}</b>",
            showarrow=False,
        )
    figure.update_xaxes(range=[-0.03, 1.03], showgrid=False, showticklabels=False, zeroline=False)
    figure.update_layout(legend={"y": -0.02, "yref": "paper"}, margin={"t": 30})
    return figure


class _Look(NamedTuple):
    name: str
    colour: str
    dash: str
    width: float
    symbol: str


_LOOKS = (
    _Look("relevant", drawing.BLUE, "solid", 4, "circle"),
    _Look("judged irrelevant", drawing.VERMILLION, "dash", 2, "x"),
    _Look("unjudged", drawing.GREY, "dot", 1.5, "circle-open"),
)


class _Rows:
    """The row of every document on each side: those beyond k follow in their order.

    Args:
        places: documents.
        k: ranks that have rows of their own.
    """

    def __init__(self, places: Sequence[RankPair], k: int) -> None:
        self._k = k
        self._below: list[dict[str, float]] = []
        for side in (0, 1):
            beyond = [place for place in places if (place.ranks[side] or math.inf) > k]
            beyond.sort(key=lambda place: place.ranks[side] or math.inf)
            self._below.append({p.document: k + 1.0 + row for row, p in enumerate(beyond)})

    def of(self, side: int, place: RankPair) -> float:
        """Return the row of a document on one side."""
        rank = place.ranks[side]
        inside = rank is not None and rank <= self._k
        return float(rank or 0) if inside else self._below[side][place.document]

    @property
    def lowest(self) -> float:
        """The last row that is used."""
        return max([float(self._k), *self._below[0].values(), *self._below[1].values()])


def _changes(places: Sequence[RankPair], rows: _Rows, look: _Look, stored: tuple[int, int]) -> Any:
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[float | None] = []
    texts: list[str] = []
    for place in places:
        x += [0, 1, None]
        y += [rows.of(0, place), rows.of(1, place), None]
        title = drawing.label(formats.shortened(place.title, 120), length=60)
        ranks = f"{_rank(place, 0, stored)} → {_rank(place, 1, stored)}"
        texts += [f"{title}<br>rank {ranks}, {look.name}"] * 2 + [""]
    return go.Scatter(
        x=x,
        y=y,
        customdata=texts,
        name=look.name,
        mode="lines+markers",
        line={"color": look.colour, "dash": look.dash, "width": look.width},
        marker={"symbol": look.symbol, "size": 9, "color": look.colour, "line_width": 2},
        hovertemplate="%{customdata}<extra></extra>",
    )


def _rank(place: RankPair, side: int, stored: tuple[int, int]) -> str:
    rank = place.ranks[side]
    return f"{rank:,}" if rank is not None else f">{stored[side]:,}"


def _kind(grade: int | None) -> str:
    if grade is None:
        return "unjudged"
    return "relevant" if grade >= 1 else "judged irrelevant"


def _side_label(place: RankPair, rank: str, anchor: str) -> str:
    title = drawing.label(formats.shortened(place.title, _TITLE), length=200)
    if place.grade is not None and place.grade >= 1:
        title = f"<b>{title}</b>"
    return f"{title}  {rank}" if anchor == "right" else f"{rank}  {title}"
