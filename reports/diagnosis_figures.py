"""Figures of a diagnosis: where the score is lost, at which stages, and on a map of the queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.diagnosis.values import (
    CandidateDiagnosis,
    FailureCluster,
    Finding,
    LossStage,
    ScoreBounds,
)
from harness.statistics import TIE
from reports import drawing, formats

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

STAGES: Mapping[LossStage, str] = {
    "retrieved": "found within k",
    "rerankable": "within reach of a reranker",
    "deep": "deep in the list",
    "lost": "beyond rank 1,000",
    "rerank-miss": "missed by the reranker",
    "rerank-harm": "demoted by the reranker",
    "absent": "not in the corpus",
}
NO_REASON = "not explained"
_MOST_POINTS = 50_000
_BAR_PX, _MARGINS_PX = 38, 110
_NODE = 20
_MOST_NAMED = 6  # in a caption
_LEAST_WRITTEN = 0.05


def bounds(found: Sequence[ScoreBounds], *, metric: str) -> Figure:
    """Draw the range of each score if every unjudged document were irrelevant, or relevant.

    Args:
        found: candidates on one collection.
        metric: its text.
    """
    import plotly.graph_objects as go

    rows = list(range(len(found)))
    figure = drawing.frame(height=_BAR_PX * len(rows) + _MARGINS_PX)
    figure.add_trace(
        go.Scatter(
            x=[one.mean for one in found],
            y=rows,
            error_x=drawing.bars([(one.mean, one.low, one.high) for one in found]),
            mode="markers",
            name="as judged, with the range",
            marker={"color": drawing.BLUE, "symbol": "diamond", "size": 10},
            customdata=[formats.with_interval(one.mean, one.low, one.high) for one in found],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    labels = [drawing.label(one.candidate) for one in found]
    figure.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5])
    figure.update_xaxes(title_text=drawing.label(metric, length=60))
    return figure


class PointKind(NamedTuple):
    """One kind of point on the map: its word, its look, and which rows are of it."""

    name: str
    colour: str
    symbol: str
    rows: npt.NDArray[np.int64]


class _Part(NamedTuple):
    """One part of every stacked bar: its word, its look, its length and what hovering says."""

    name: str
    colour: str
    shape: str
    values: list[float]
    said: list[str]


def gap_split(found: Sequence[CandidateDiagnosis], *, metric: str) -> Figure:
    """Draw how the distance of each score from 1 splits; the three parts sum to 1.

    Args:
        found: candidates on one collection.
        metric: its text.
    """
    words = (
        ("achieved", drawing.BLUE, "", "achieved"),
        ("lost to ranking", drawing.ORANGE, "/", "ordering_loss"),
        ("lost in the first stage", drawing.GREY, ".", "first_stage_loss"),
    )
    parts = []
    for name, colour, shape, field in words:
        values = [float(getattr(one.gap, field)) for one in found]
        said = [f"{name}: {formats.mean(value)}" for value in values]
        parts.append(_Part(name, colour, shape, values, said))
    figure = _stacked([one.candidate for one in found], parts)
    figure.update_xaxes(title_text=metric, range=[0, 1], tickformat=".1f")
    return figure


def gap_split_caption(found: Sequence[CandidateDiagnosis], metric: str) -> str:
    """Return the caption of `gap_split`."""
    parts = [
        f"{one.candidate} loses {formats.mean(one.gap.ordering_loss)} to ranking within its top "
        f"{one.gap.depth} and {formats.mean(one.gap.first_stage_loss)} to first-stage misses "
        f"(n={one.n:,})"
        for one in found[:_MOST_NAMED]
    ]
    return (
        f"Loss in {metric} against a perfect score: recoverable by perfect ranking, and lost in "
        f"the first stage. {'; '.join(parts)}."
    )


def stages(found: Sequence[CandidateDiagnosis]) -> Figure:
    """Draw at which stage the queries of each candidate end.

    Args:
        found: candidates on one collection.
    """
    counts = [{count.stage: count for count in one.stages} for one in found]
    parts = []
    for stage, words in STAGES.items():
        if any(stage in mine for mine in counts):
            colour, shape = _STAGE_LOOKS[stage]
            shares = [mine[stage].share if stage in mine else 0.0 for mine in counts]
            numbers = [mine[stage].n if stage in mine else 0 for mine in counts]
            said = [
                f"{words}: {number:,} queries, {formats.share(share)}"
                for number, share in zip(numbers, shares, strict=True)
            ]
            parts.append(_Part(words, colour, shape, shares, said))
    figure = _stacked([one.candidate for one in found], parts)
    figure.update_xaxes(title_text="share of the queries", range=[0, 1], tickformat=".0%")
    return figure


def _stacked(names: Sequence[str], parts: Sequence[_Part]) -> Figure:
    import plotly.graph_objects as go

    rows = list(range(len(names)))
    figure = drawing.frame(height=_BAR_PX * len(rows) + _MARGINS_PX)
    for part in parts:
        figure.add_trace(
            go.Bar(
                x=part.values,
                y=rows,
                orientation="h",
                name=part.name,
                marker=drawing.filled(part.colour, part.shape),
                customdata=part.said,
                hovertemplate="%{customdata}<extra></extra>",
                text=[f"{value:.2f}" if value >= _LEAST_WRITTEN else "" for value in part.values],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                insidetextfont={"size": 13, "color": drawing.ink_on(part.colour)},
            )
        )
    labels = [drawing.label(name) for name in names]
    figure.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5])
    figure.update_yaxes(showgrid=False)
    figure.update_layout(barmode="stack", bargap=0.3, legend_traceorder="normal")
    return figure


_STAGE_LOOKS: Mapping[LossStage, tuple[str, str]] = {
    "retrieved": (drawing.BLUE, ""),
    "rerankable": (drawing.ORANGE, "/"),
    "deep": (drawing.VERMILLION, "\\"),
    "lost": (drawing.GREY, "."),
    "rerank-miss": (drawing.PURPLE, "x"),
    "rerank-harm": (drawing.GREEN, "-"),
    "absent": ("#555555", "+"),
}


def hits_and_misses(misses: npt.NDArray[np.bool_]) -> list[PointKind]:
    """Return the points of the map by whether a query found something within k."""
    return [
        PointKind("hit", drawing.BLUE, "circle", np.flatnonzero(~misses)),
        PointKind("miss", drawing.VERMILLION, "triangle-down", np.flatnonzero(misses)),
    ]


def changes(differences: npt.NDArray[np.float64]) -> list[PointKind]:
    """Return the points of the map by whether a query is better than with another candidate."""
    is_tie = np.abs(differences) < TIE
    return [
        PointKind("equal", drawing.GREY, "circle", np.flatnonzero(is_tie)),
        PointKind(
            "better", drawing.BLUE, "triangle-up", np.flatnonzero((differences > 0) & ~is_tie)
        ),
        PointKind(
            "worse",
            drawing.VERMILLION,
            "triangle-down",
            np.flatnonzero((differences < 0) & ~is_tie),
        ),
    ]


def query_map(
    places: npt.NDArray[np.float64],
    kinds: Sequence[PointKind],
    clusters: Sequence[tuple[FailureCluster, npt.NDArray[np.int64]]],
    *,
    chosen: str = "",
) -> Figure:
    """Draw queries where similar ones lie together, with their clusters.

    Every point carries its row as customdata; a lasso returns those.

    Args:
        places: float64 [n, 2], coordinates.
        kinds: what the points are; of more than 50,000 points all but the first kind are kept.
        clusters: each with the rows of its members.
        chosen: key of the cluster whose members stand out; topics among the others get a ring.
    """
    figure = drawing.frame(height=520)
    crowd = sum(len(kind.rows) for kind in kinds)
    for number, kind in enumerate(kinds):
        rows = kind.rows
        if crowd > _MOST_POINTS and number == 0:
            left = max(_MOST_POINTS - (crowd - len(rows)), 1_000)
            rows = rows[:: max(1, len(rows) // left)]
        if len(rows):
            figure.add_trace(_points(places, kind._replace(rows=rows), is_background=number == 0))
    for cluster, rows in clusters:
        if cluster.key == chosen and len(rows):
            figure.add_trace(_members(places, cluster, rows))
        elif cluster.region == "topic" and len(rows):
            _ring(figure, places[rows], cluster)
    none = {"showgrid": False, "showticklabels": False, "zeroline": False}
    figure.update_xaxes(**none)
    figure.update_yaxes(**none, scaleanchor="x")
    figure.update_layout(dragmode="lasso", margin={"b": 4})
    return figure


def _points(places: npt.NDArray[np.float64], kind: PointKind, *, is_background: bool) -> Any:
    import plotly.graph_objects as go

    return go.Scattergl(
        x=places[kind.rows, 0].round(3),
        y=places[kind.rows, 1].round(3),
        customdata=kind.rows,
        mode="markers",
        name=f"{kind.name} ({len(kind.rows):,})",
        marker={
            "color": kind.colour,
            "symbol": kind.symbol,
            "size": 5 if is_background else 8,
            "opacity": 0.6 if is_background else 0.85,
        },
        hovertemplate=f"{kind.name}<extra></extra>",
    )


def _members(
    places: npt.NDArray[np.float64], cluster: FailureCluster, rows: npt.NDArray[np.int64]
) -> Any:
    """Return a circle around every member of the cluster that was chosen."""
    import plotly.graph_objects as go

    return go.Scattergl(
        x=places[rows, 0].round(3),
        y=places[rows, 1].round(3),
        customdata=rows,
        mode="markers",
        name=f"in {drawing.label(cluster.key)} ({len(rows):,})",
        marker={
            "color": drawing.PURPLE,
            "symbol": "circle-open",
            "size": 13,
            "line": {"width": 2},
        },
        hovertemplate=f"in {drawing.label(cluster.key)}<extra></extra>",
    )


def _ring(figure: Figure, places: npt.NDArray[np.float64], cluster: FailureCluster) -> None:
    """Ring the middle of a topic's members and write its key there."""
    middle = np.median(places, axis=0)
    spread = np.quantile(np.abs(places - middle), 0.8, axis=0) + 1e-6
    (x0, y0), (x1, y1) = middle - spread, middle + spread
    line = {"color": drawing.PURPLE, "width": 1.5, "dash": "dot"}
    figure.add_shape(type="circle", x0=x0, y0=y0, x1=x1, y1=y1, line=line)
    figure.add_annotation(
        x=middle[0],
        y=y1,
        text=f"<b>{drawing.label(cluster.key)}</b>",
        showarrow=False,
        yanchor="bottom",
        font={"size": 13},
    )


def flow(ended: Sequence[tuple[LossStage, str]], findings: Sequence[Finding]) -> Figure:
    """Draw how failed queries flow from the stage they ended at over their reason to its lever.

    Args:
        ended: stage and first reason of each failed query, "" where none is known.
        findings: of the candidate; their levers.
    """
    import plotly.graph_objects as go

    titles = {finding.reason: finding.title for finding in findings}
    levers = {finding.reason: finding.lever for finding in findings}
    steps = Counter(
        (STAGES[stage], titles.get(reason, NO_REASON), str(levers.get(reason, "no remedy")))
        for stage, reason in ended
    )
    columns: list[Counter[str]] = [Counter(), Counter(), Counter()]
    for names, count in steps.items():
        for column, name in zip(columns, names, strict=True):
            column[name] += count
    nodes = [
        (side, name) for side, column in enumerate(columns) for name, _ in column.most_common()
    ]
    places = {node: place for place, node in enumerate(nodes)}
    links: Counter[tuple[int, int]] = Counter()
    for (stage, reason, lever), count in steps.items():
        links[places[0, stage], places[1, reason]] += count
        links[places[1, reason], places[2, lever]] += count
    figure = drawing.frame(height=max(260, 72 * max(map(len, columns)) + 60))
    if not links:
        return figure
    figure.add_trace(
        go.Sankey(
            node={
                "label": [
                    f"{drawing.label(name, length=_NODE)} ({columns[side][name]:,})"
                    for side, name in nodes
                ],
                "color": [(drawing.VERMILLION, drawing.PURPLE, drawing.BLUE)[n[0]] for n in nodes],
                "pad": 36,
                "thickness": 14,
                "line": {"width": 0},
                "hovertemplate": "%{label}<extra></extra>",
            },
            link={
                "source": [source for source, _ in links],
                "target": [target for _, target in links],
                "value": list(links.values()),
                "color": "rgba(127,127,127,0.25)",
                "hovertemplate": "%{source.label} → %{target.label}: %{value:,}<extra></extra>",
            },
            textfont={"size": 13},
        )
    )
    figure.update_layout(margin={"l": 4, "r": 4, "t": 8, "b": 18})
    return figure
