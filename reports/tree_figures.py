"""Figures of all candidates together: the tree with its edges, every pair, every collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.results.comparison import Comparison
from harness.results.values import Results, Score
from harness.statistics.verdicts import Verdict
from reports import drawing, formats, reading
from reports.pairs import EveryPair

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ROW_PX, _CELL_PX, _MARGINS_PX = 44, 46, 60
_MOST_NUMBERS = 12  # candidates; in a larger matrix the numbers would not fit into their cells
_NAME, _LONG_NAME = 22, 60
_LINE = 0.36  # of a row: what one more line of text takes
_SHIFT = 0.07
_GAP = "\u2003"  # between a node and its text, at every width
_DASHES: Mapping[Verdict, str] = {
    Verdict.BETTER: "solid",
    Verdict.EQUIVALENT: "longdash",
    Verdict.INCONCLUSIVE: "dot",
    Verdict.WORSE: "dash",
}


def tree(results: Results, collection: str) -> Figure:
    """Draw the candidates as a tree; beside each stands its score and what its change did.

    Args:
        results: of a run.
        collection: name.
    """
    metric = results.metrics[0]
    branches = reading.branches(results)
    depths = {branch.candidate.name: branch.depth for branch in branches}
    for branch in branches:
        parents = branch.candidate.parents
        if len(parents) > 1:  # a fusion stands right of everything that it fuses
            depths[branch.candidate.name] = 1 + max(depths[parent] for parent in parents)
    edges = reading.comparisons_of(results, collection, metric, role="parent")
    effects = _effects(edges)
    names = [branch.candidate.name for branch in branches]
    heights = [1 + _LINE * max(len(effects.get(name, ())) - 1, 0) for name in names]
    lowest = sum(heights)
    ends = accumulate(heights)
    rows = {name: end - height / 2 for name, end, height in zip(names, ends, heights, strict=True)}
    figure = drawing.frame(height=round(_ROW_PX * lowest) + _MARGINS_PX)
    for answer in drawing.VERDICTS:
        if mine := [edge for edge in edges if edge.verdict is answer]:
            figure.add_trace(_edges(mine, answer, rows, depths, _shifts(results)))
    scores = reading.scores_of(results, collection, metric)
    figure.add_trace(_nodes(results, rows, depths))
    figure.add_trace(_texts(results, scores, effects, rows, depths))
    right = max(depths.values()) + 2.5
    figure.update_xaxes(range=[-0.1, right], showgrid=False, showticklabels=False, zeroline=False)
    figure.update_yaxes(range=[lowest, 0], showgrid=False, showticklabels=False, zeroline=False)
    return figure


def pairs(found: EveryPair, *, metric: str) -> Figure:
    """Draw the difference of every row's candidate from every column's.

    Args:
        found: all pairs.
        metric: its text.
    """
    import plotly.graph_objects as go

    size = len(found.names)
    labels = [drawing.label(name, length=_NAME) for name in found.names]
    widest = max(float(np.abs(found.difference).max(initial=0.0)), 0.01)
    shapes = [[_cell(found, row, column) for column in range(size)] for row in range(size)]
    hover = [[_pair_text(found, row, column) for column in range(size)] for row in range(size)]
    off_diagonal = np.where(np.eye(size, dtype=bool), np.nan, found.difference)
    figure = drawing.frame(height=_CELL_PX * size + 2 * _MARGINS_PX)
    figure.add_trace(
        go.Heatmap(
            x=list(range(size)),
            y=list(range(size)),
            z=off_diagonal,
            text=shapes,
            texttemplate="%{text}",
            textfont={"color": drawing.INK, "size": 12},
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            colorscale=[list(step) for step in drawing.DIVERGING],
            zmin=-widest,
            zmax=widest,
            xgap=2,
            ygap=2,
            colorbar={
                "title": {"text": f"row \u2212 column<br>in {metric}"},
                **drawing.SIGNED,
                "thickness": 12,
            },
        )
    )
    ticks = {"tickvals": list(range(size)), "ticktext": labels, "showgrid": False}
    figure.update_xaxes(**ticks, side="top", tickangle=-60 if size > 4 else 0)
    figure.update_yaxes(**ticks, range=[size - 0.5, -0.5])
    figure.update_layout(showlegend=False)
    return figure


def collections(differences: Mapping[str, Comparison], *, metric: str) -> Figure:
    """Draw the difference of two candidates on every collection.

    Args:
        differences: their comparison by collection.
        metric: its text.
    """
    import plotly.graph_objects as go

    figure = drawing.frame(height=_ROW_PX * len(differences) + 2 * _MARGINS_PX)
    names = list(differences)
    for answer in drawing.VERDICTS:
        mine = [name for name in names if differences[name].verdict is answer]
        if mine:
            found = [differences[name] for name in mine]
            figure.add_trace(
                go.Scatter(
                    x=[c.difference for c in found],
                    y=[names.index(name) for name in mine],
                    error_x=drawing.bars(
                        [(c.difference, c.family_low, c.family_high) for c in found]
                    ),
                    customdata=[f"{reading.family_gap(c)}, n={c.n:,}" for c in found],
                    **drawing.verdict_look(answer),
                )
            )
    labels = [drawing.label(name) for name in names]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=labels)
    figure.update_yaxes(range=[len(names) - 0.5, -0.5])
    title = drawing.label(f"difference in {metric}", length=_LONG_NAME)
    figure.update_xaxes(title_text=title, zeroline=True, **drawing.SIGNED)
    return figure


def _shifts(results: Results) -> dict[tuple[str, str], float]:
    """Return how far to move each edge to a fusion, so that none hides another."""
    return {
        (candidate.name, parent): _SHIFT * (place + 1)
        for candidate in results.candidates
        if len(candidate.parents) > 1
        for place, parent in enumerate(dict.fromkeys(candidate.parents))
    }


def _edges(
    edges: Sequence[Comparison],
    answer: Verdict,
    rows: Mapping[str, float],
    depths: Mapping[str, int],
    shifts: Mapping[tuple[str, str], float],
) -> Any:
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[float | None] = []
    for edge in edges:
        shift = shifts.get((edge.candidate, edge.reference), 0.0)
        left, row = depths[edge.reference] + shift, rows[edge.candidate] + shift
        x += [depths[edge.reference], left, left, depths[edge.candidate], None]
        y += [rows[edge.reference], rows[edge.reference], row, row, None]
    look = drawing.verdict_look(answer)
    dash = _DASHES[answer]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        name=f"{reading.SHAPES[answer]} {look['name']}",
        line={"color": look["marker"]["color"], "dash": dash, "width": 2.5},
        hoverinfo="skip",
    )


def _effects(edges: Sequence[Comparison]) -> dict[str, list[str]]:
    """Return a line for each edge to a candidate; of several each names where it comes from."""
    counts = Counter(edge.candidate for edge in edges)
    effects: dict[str, list[str]] = {}
    for edge in edges:
        shape = reading.SHAPES[edge.verdict]
        value = reading.family_gap(edge)
        several = counts[edge.candidate] > 1
        whence = f" from {drawing.label(edge.reference, length=_LONG_NAME)}" if several else ""
        effects.setdefault(edge.candidate, []).append(f"{shape} {value}{whence}")
    return effects


def _nodes(results: Results, rows: Mapping[str, float], depths: Mapping[str, int]) -> Any:
    import plotly.graph_objects as go

    changes = {candidate.name: candidate.change for candidate in results.candidates}
    return go.Scatter(
        x=[depths[name] for name in rows],
        y=list(rows.values()),
        mode="markers",
        marker={
            "size": 12,
            "color": drawing.PURPLE,
            "symbol": ["square" if name == results.baseline else "circle" for name in rows],
        },
        customdata=[drawing.label(changes[name], length=_LONG_NAME) for name in rows],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
        cliponaxis=False,
    )


def _texts(
    results: Results,
    scores: Mapping[str, Score],
    effects: Mapping[str, Sequence[str]],
    rows: Mapping[str, float],
    depths: Mapping[str, int],
) -> Any:
    """Return the texts right of the nodes, and right of the edges to fusions that start there."""
    import plotly.graph_objects as go

    starts = {depths[parent]: 0.0 for parent in rows}
    for (_, parent), shift in _shifts(results).items():
        starts[depths[parent]] = max(starts[depths[parent]], shift)
    texts = []
    for name in rows:
        shown = drawing.label(formats.shortened(name, _LONG_NAME), length=2 * _LONG_NAME)
        mark = " (baseline)" if name == results.baseline else ""
        head = f"<b>{shown}</b>{mark} {formats.mean(scores[name].mean)}"
        texts.append("<br>".join(f"{_GAP}{line}" for line in (head, *effects.get(name, ()))))
    return go.Scatter(
        x=[depths[name] + starts[depths[name]] for name in rows],
        y=list(rows.values()),
        text=texts,
        textposition="middle right",
        mode="text",
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )


def _cell(found: EveryPair, row: int, column: int) -> str:
    if row == column or len(found.names) > _MOST_NUMBERS:
        return ""
    return formats.signed(found.difference[row, column])


def _pair_text(found: EveryPair, row: int, column: int) -> str:
    first, second = (drawing.label(found.names[place], length=40) for place in (row, column))
    return (
        f"{first} against {second}<br>"
        f"{formats.signed(found.difference[row, column])}, "
        f"{formats.p_equals(found.p[row, column])} over all pairs<br>"
        f"better on {formats.share(float(found.better[row, column]))}, worse on "
        f"{formats.share(float(found.better[column, row]))} of {found.n:,} queries"
    )
