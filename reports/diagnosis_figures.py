"""Figures of a diagnosis: where the score is lost, at which stages, and on a map of the queries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.arrays import Indices, Values
from harness.diagnosis.values import (
    CandidateDiagnosis,
    FailureCluster,
    Finding,
    LossStage,
    ScoreBounds,
    Topic,
)
from reports import drawing, formats
from reports.diagnosis_tables import STAGES, remedy

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

NO_REASON = "not explained"
_MOST_POINTS = 50_000
CROWD = 2_000  # points, from which shades show where they are dense
_CELLS = 60  # of the shades, on each axis
_PAPER = "#EEEEEE"  # behind the names of topics, in both themes
_NAME = 44  # characters of a name on the map
_APART = (0.3, 0.12)  # of two names, in units of the map
# From a score of 0 to one of 1; each shows on white and on black.
_SCORES = ((0.0, "#D55E00"), (0.5, "#E3C878"), (1.0, "#1A80BB"))
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


class Colouring(NamedTuple):
    """What the colours of a map say.

    Attributes:
        title: in words.
        values: float64 [n], of every query.
        scale: of plotly.
        span: values at its ends.
    """

    title: str
    values: Values
    scale: Sequence[tuple[float, str]]
    span: tuple[float, float]


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
        ("lost to documents beyond", drawing.GREY, ".", "first_stage_loss"),
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
        f"{one.gap.depth} and {formats.mean(one.gap.first_stage_loss)} to documents beyond "
        f"(n={one.n:,})"
        for one in found[:_MOST_NAMED]
    ]
    return (
        f"Loss in {metric} against a perfect score: what a perfect order of the first documents "
        f"would recover, and the rest. {'; '.join(parts)}."
    )


def stages(found: Sequence[CandidateDiagnosis], *, metric: str) -> Figure:
    """Draw what each candidate scores, and at which stage it loses the rest: the parts sum to 1.

    Args:
        found: candidates on one collection.
        metric: its text.
    """
    counts = [{count.stage: count for count in one.stages} for one in found]
    scores = [one.gap.achieved for one in found]
    said = [f"score: {formats.mean(score)}" for score in scores]
    parts = [_Part("score", drawing.BLUE, "", scores, said)]
    for stage, words in STAGES.items():
        if any(stage in mine for mine in counts):
            colour, shape = _STAGE_LOOKS[stage]
            ended = [mine.get(stage) for mine in counts]
            lost = [max(each.loss, 0.0) if each else 0.0 for each in ended]
            said = [
                f"{words}: {formats.mean(loss)} lost; {each.n if each else 0:,} queries"
                for loss, each in zip(lost, ended, strict=True)
            ]
            parts.append(_Part(words, colour, shape, lost, said))
    figure = _stacked([one.candidate for one in found], parts)
    figure.update_xaxes(title_text=metric, range=[0, 1], tickformat=".1f")
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
    "retrieved": ("#8EC3E2", "/"),
    "rerankable": (drawing.ORANGE, ""),
    "deep": (drawing.VERMILLION, "\\"),
    "lost": (drawing.GREY, "."),
    "rerank-miss": (drawing.PURPLE, "x"),
    "rerank-harm": (drawing.GREEN, "-"),
    "absent": ("#555555", "+"),
}


def metric_colours(values: Values, *, metric: str) -> Colouring:
    """Return the colouring by the metric itself."""
    return Colouring(metric, values, _SCORES, (0.0, 1.0))


def difference_colours(differences: Values, *, metric: str, other: str) -> Colouring:
    """Return the colouring by the difference to another candidate."""
    most = float(np.abs(differences).max(initial=0)) or 1.0
    title = f"{metric} minus that of {other}"
    return Colouring(title, differences, drawing.DIVERGING, (-most, most))


def query_map(
    places: Values,
    coloured: Colouring | None,
    clusters: Sequence[tuple[FailureCluster, Indices]],
    *,
    topics: Sequence[Topic] = (),
    chosen: str = "",
) -> Figure:
    """Draw queries where similar ones lie together, with the names of topics and of clusters.

    Every point carries its row as customdata; a lasso returns those. Of more than 50,000 points
    outside clusters some are left out.

    Args:
        places: float64 [n, 2], coordinates.
        coloured: what the colours say; None is the cluster of each query.
        clusters: each with the rows of its members, in the order of their table.
        topics: names of parts of the map.
        chosen: key of the cluster whose members are circled.
    """
    figure = drawing.frame(height=560)
    if len(places) > CROWD:
        figure.add_trace(_density(places))
    held = np.zeros(len(places), dtype=bool)
    for _, rows in clusters:
        held[rows] = True
    others = np.flatnonzero(~held)
    others = others[:: max(1, len(others) // _MOST_POINTS)]
    if coloured is None:
        figure.add_trace(_points(places, others, "no cluster", {"color": drawing.GREY}))
        for number, (cluster, rows) in enumerate(clusters):
            colour, symbol = cluster_look(number)
            marker = {"color": colour, "symbol": symbol, "size": 9}
            figure.add_trace(_points(places, rows, cluster.key, marker))
    else:
        rows = np.sort(np.concatenate([others, np.flatnonzero(held)]))
        figure.add_trace(_scale(places, rows, coloured))
        for cluster, rows in clusters:
            if cluster.key == chosen and len(rows):
                figure.add_trace(_members(places, cluster, rows))
    _write_names(figure, places, clusters, topics, chosen=chosen)
    none = {"showgrid": False, "showticklabels": False, "zeroline": False}
    figure.update_xaxes(**none)
    figure.update_yaxes(**none)
    figure.update_layout(dragmode="lasso", margin={"b": 4})
    return figure


def cluster_look(number: int) -> tuple[str, str]:
    """Return colour and shape of a cluster by its place in the table, on the map and beside it."""
    colour, symbol, _ = drawing.LINES[number % len(drawing.LINES)]
    return colour, symbol if number < len(drawing.LINES) else f"{symbol}-open"


def _points(places: Values, rows: Indices, name: str, marker: Mapping[str, Any]) -> Any:
    import plotly.graph_objects as go

    return go.Scattergl(
        x=places[rows, 0].round(3),
        y=places[rows, 1].round(3),
        customdata=rows,
        mode="markers",
        name=f"{drawing.label(name)} ({len(rows):,})",
        marker={"size": 6, "opacity": 0.75, **marker},
        hovertemplate=f"{drawing.label(name)}<extra></extra>",
    )


def _scale(places: Values, rows: Indices, coloured: Colouring) -> Any:
    low, high = coloured.span
    marker = {
        "color": coloured.values[rows].round(3),
        "colorscale": coloured.scale,
        "cmin": low,
        "cmax": high,
        "size": 7 if len(rows) < CROWD else 5,
        "line": {"width": 0.5, "color": drawing.GREY},
        "opacity": 0.9,
        "colorbar": {
            "title": {"text": drawing.label(coloured.title, length=24), "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
        },
    }
    points = _points(places, rows, "queries", marker)
    points.update(showlegend=False, hovertemplate="%{marker.color:.3f}<extra></extra>")
    return points


def _density(places: Values) -> Any:
    """Return shades for where queries are many: counts in cells, smoothed."""
    import plotly.graph_objects as go

    counts, xs, ys = np.histogram2d(places[:, 0], places[:, 1], bins=_CELLS)
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    for axis in (0, 1):
        counts = np.apply_along_axis(np.convolve, axis, counts, kernel, mode="same")
    return go.Contour(
        x=((xs[1:] + xs[:-1]) / 2).round(3),
        y=((ys[1:] + ys[:-1]) / 2).round(3),
        z=np.sqrt(counts.T).round(2),
        showscale=False,
        hoverinfo="skip",
        colorscale=[[0, "rgba(127,127,127,0)"], [1, "rgba(127,127,127,0.45)"]],
        contours={"coloring": "fill", "showlines": False},
        ncontours=6,
        line={"width": 0},
    )


def _members(places: Values, cluster: FailureCluster, rows: Indices) -> Any:
    """Return a circle around every member of the cluster that was chosen."""
    marker = {
        "color": drawing.GREY,
        "symbol": "circle-open",
        "size": 13,
        "opacity": 1,
        "line": {"width": 2},
    }
    return _points(places, rows, f"in {cluster.key}", marker)


def _write_names(
    figure: Figure,
    places: Values,
    clusters: Sequence[tuple[FailureCluster, Indices]],
    topics: Sequence[Topic],
    *,
    chosen: str,
) -> None:
    """Write the names of clusters by topic at their middle, and of parts of the map where none is.

    The members of a cluster by attributes lie anywhere: it has no middle.
    """
    taken: list[tuple[float, float]] = []

    def write(x: float, y: float, text: str, **look: Any) -> bool:
        if any(abs(x - a) < _APART[0] and abs(y - b) < _APART[1] for a, b in taken):
            return False
        taken.append((x, y))
        figure.add_annotation(x=x, y=y, text=text, showarrow=False, **look)
        return True

    ordered = sorted(enumerate(clusters), key=lambda each: each[1][0].key != chosen)
    for number, (cluster, rows) in ordered:
        if cluster.region == "topic" and len(rows):
            x, y = np.median(places[rows], axis=0).tolist()
            colour = cluster_look(number)[0]
            about = formats.shortened(cluster.title or ", ".join(cluster.label), _NAME)
            text = f"<b>{drawing.label(f'{cluster.key} {about}', length=26)}</b>"
            # The key alone where the whole name would lie on another.
            font = {"size": 12, "color": drawing.ink_on(colour)}
            box = {"bgcolor": colour, "borderpad": 3, "bordercolor": colour, "font": font}
            if not write(x, y, text, **box):
                key = f"<b>{drawing.label(cluster.key)}</b>"
                figure.add_annotation(x=x, y=y, text=key, showarrow=False, **box)
    for topic in topics:
        text = drawing.label(formats.shortened(topic.title, _NAME), length=22)
        font = {"size": 12, "color": drawing.ink_on(_PAPER)}
        write(topic.x, topic.y, f"<i>{text}</i>", font=font, bgcolor=_PAPER, borderpad=2)


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
        (STAGES[stage], titles.get(reason, NO_REASON), remedy(levers.get(reason, "no remedy")))
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
    figure = drawing.frame(height=max(260, 72 * max(map(len, columns)) + 80))
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
    figure.update_layout(margin={"l": 4, "r": 4, "t": 18, "b": 28})
    return figure
