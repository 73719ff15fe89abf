"""Figures: plotly builders over stored results, and what one sees in each, in words.

A figure without traces has nothing to show.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, product
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.results.comparison import Comparison, Role
from harness.results.values import Costs, Results, Score
from harness.statistics.verdicts import Verdict
from reports import drawing, formats, reading
from reports.svg import text
from reports.wording import joined

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ROW_PX, _LINE_PX, _MARGINS_PX = 28, 15, 110
_WIDE_LABEL, _NARROW_LABEL = 60, 14
_LINE_OFF_PX = 4.0  # of a name from the middle of a line
_MOST_NAMES = 6  # in a caption
_LEAST_MEAN = 0.001  # a share of less says nothing
_CHEAPER: dict[reading.Unit, str] = {"query_ms_p95": "faster", "bytes_per_document": "smaller"}
_PANEL_PX = (340.0, 290.0)  # about what a panel, and its points, span where a window is narrow
_MARK_PX = 7.0  # half of a point
_NEAR_X, _NEAR_Y = 0.03, 0.08  # of the span of the points: two names so close would overlap


def differences(
    results: Results,
    collection: str,
    *,
    role: Role = "baseline",
    metric: str = "",
    margin: float | None = None,
) -> Figure:
    """Draw the difference of every candidate from the baseline, or from its parents.

    Args:
        results: of a run.
        collection: name.
        role: what the differences are taken from.
        metric: of the suite; "" takes the one that decides.
        margin: a loss or gain that does not matter is shaded; None where nothing is said of it.
    """
    metric = metric or results.metrics[0]
    found = _largest_first(reading.comparisons_of(results, collection, metric, role=role))
    reference = results.baseline if role == "baseline" else "its parent"
    title = f"difference in {metric} from {reference}"
    return _intervals(found, _edge_labels(found), title, margin)


def _largest_first(found: Sequence[Comparison]) -> list[Comparison]:
    return sorted(found, key=lambda each: -each.difference)


def pairs(found: Sequence[Comparison], *, margin: float) -> Figure:
    """Draw the difference of every pair of runs, in one metric.

    Args:
        found: at least one.
        margin: a loss or gain that does not matter is shaded.
    """
    names = [drawing.label(f"{c.candidate} against {c.reference}") for c in found]
    return _intervals(found, names, f"difference in {found[0].metric}", margin)


def _intervals(
    found: Sequence[Comparison], names: Sequence[str], title: str, margin: float | None
) -> Figure:
    """Draw differences with their intervals, a row each."""
    # One unit of the axis is a pixel, so that a label of several lines gets the room it needs.
    rows = [0, *accumulate(_ROW_PX + _LINE_PX * name.count("<br>") for name in names)]
    middles = [(top + bottom) / 2 for top, bottom in pairwise(rows)]
    figure = drawing.frame(height=rows[-1] + _MARGINS_PX)
    for answer in drawing.VERDICTS:
        figure.add_traces(list(_differences(found, middles, answer)))
    figure.update_yaxes(tickvals=middles, ticktext=names, range=[rows[-1], 0])
    if margin is not None and found:
        figure.add_vrect(-margin, margin, **drawing.BAND)
    label = drawing.label(title, length=_WIDE_LABEL)
    figure.update_xaxes(title_text=label, zeroline=True, rangemode="tozero", **drawing.SIGNED)
    return figure


def differences_caption(results: Results, collection: str, *, role: Role = "baseline") -> str:
    """Return the caption of `differences`."""
    compared = reading.comparisons_of(results, collection, results.metrics[0], role=role)
    found = _largest_first(compared)
    reference = (
        f"from the baseline {results.baseline}"
        if role == "baseline"
        else "of each candidate from its parent"
    )
    sides = []
    for answer in Verdict:
        names = [
            c.candidate if role == "baseline" else f"{c.candidate} (from {c.reference})"
            for c in found
            if c.verdict is answer
        ]
        if names:
            listed = joined(names) if len(names) <= _MOST_NAMES else f"{len(names)} candidates"
            sides.append(f"{answer.capitalize()}: {listed}.")
    side = "; right of 0 is better" if role == "baseline" else ""
    n = f", n={found[0].n:,}" if found else ""
    return (
        f"Difference in {results.metrics[0]} {reference} on {collection}, with simultaneous 95% "
        f"intervals{n}{side}. {' '.join(sides)}"
    )


def quality_and_cost(results: Results, costs: Costs, collection: str) -> Figure:
    """Draw the deciding metric against latency and index size, as far as these were measured."""
    found = {
        title: _points(results, reading.cost_by_candidate(costs, collection, unit), collection)
        for unit, title in reading.UNITS.items()
    }
    drawn = {title: points for title, points in found.items() if points}
    figure = drawing.frame(height=420, columns=max(1, len(drawn)))
    seen: set[str] = set()
    for column, (title, points) in enumerate(drawn.items(), start=1):
        if len(points) > 1:  # below the names of the points
            figure.add_trace(_frontier(points, is_named=column == 1), row=1, col=column)
        for trace in _quality_and_cost(points):
            trace.showlegend = trace.name not in seen
            seen.add(trace.name)
            figure.add_trace(trace, row=1, col=column)
        axis = drawing.log_axis([point.cost for point in points])
        figure.update_xaxes(title_text=title, **axis, col=column)
    figure.update_yaxes(title_text=results.metrics[0], col=1)
    return figure


def quality_and_cost_caption(results: Results, costs: Costs, collection: str) -> str:
    """Return the caption of `quality_and_cost`."""
    metric = results.metrics[0]
    scores = reading.scores_of(results, collection, metric)
    sentences = [
        (
            f"{metric} with 95% intervals against measured cost on {collection} (log scale); up "
            "and to the left is better."
        )
    ]
    for unit, word in _CHEAPER.items():
        measured = reading.cost_by_candidate(costs, collection, unit)
        if len(measured) > 1:
            means = {name: scores[name].mean for name in measured}
            best = reading.front(means, measured)
            names = [each.candidate.name for each in reading.branches(results)]
            front = joined([name for name in names if name in best], last="or")
            sentences.append(f"By the means, no candidate is both better and {word} than {front}.")
    timed = [
        cost
        for cost in costs.costs
        if cost.collection == collection and cost.query_ms_p95 is not None
    ]
    local = [cost for cost in timed if cost.network_ms_p50 is None]
    devices = list(dict.fromkeys(cost.device for cost in local if cost.device))
    where = f"Timed on {devices[0]}." if devices else ""
    if len(devices) > 1:
        where = f"Timed on different devices ({joined(devices)}): latencies are not comparable."
    if remote := [cost.candidate for cost in timed if cost.network_ms_p50 is not None]:
        where += f" Latency of {joined(remote)} includes the network and the provider or retriever."
    is_busy = any(cost.timing_problem for cost in timed)
    sentences += ["Latency of a busy machine is left out." if is_busy else "", where.strip()]
    return " ".join(filter(None, sentences))


def widths(results: Results, collection: str, *, margin: float | None = None) -> Figure:
    """Draw the deciding metric by dimension, one line for each model that was truncated.

    Args:
        results: of a run.
        collection: name.
        margin: loss that does not matter, marked below each full width.
    """
    families = reading.width_families(results)
    figure = drawing.frame(height=360 + _ROW_PX * len(families))
    if not families:
        return figure
    scores = reading.scores_of(results, collection, results.metrics[0])
    looks = drawing.LINES * (1 + len(families) // len(drawing.LINES))
    for family, look in zip(families, looks, strict=False):
        figure.add_trace(_line(family, scores, look))
        if margin is not None:
            figure.add_hline(
                scores[family.widths[-1].candidate].mean - margin,
                line={"color": look[0], "dash": "dot", "width": 1},
            )
    if margin is not None:
        figure.add_trace(_key(f"dotted: {formats.mean(margin)} below the full width", line=True))
    every = [width for family in families for width in family.widths]
    if not all(width.is_trained for width in every):
        figure.add_trace(_key("open: not a declared Matryoshka width"))
    ticks = sorted({width.dimension for width in every})
    axis = drawing.log_axis(ticks) | {"tickvals": ticks, "ticktext": [*map(str, ticks)]}
    figure.update_xaxes(title_text="dimensions", **axis)
    figure.update_yaxes(title_text=results.metrics[0])
    return figure


def widths_caption(results: Results, collection: str) -> str:
    """Return the caption of `widths`."""
    metric = results.metrics[0]
    scores = reading.scores_of(results, collection, metric)
    sentences = [f"{metric} on {collection} by the number of dimensions kept."]
    for family in reading.width_families(results):
        narrow, wide = family.widths[0], family.widths[-1]
        whole = scores[wide.candidate].mean
        if whole >= _LEAST_MEAN:
            kept = scores[narrow.candidate].mean / whole
            sentences.append(
                f"{family.owner} keeps {100 * kept:.0f}% of its mean at {narrow.dimension} "
                f"of {wide.dimension} dimensions."
            )
        untrained = [str(width.dimension) for width in family.widths if not width.is_trained]
        if untrained:
            sentences.append(f"It declares no Matryoshka width of {joined(untrained, last='or')}.")
    return " ".join(sentences)


def _edge_labels(found: Sequence[Comparison]) -> list[str]:
    """Return the candidate of each comparison, with its reference where there are several."""
    edges = Counter(c.candidate for c in found)
    return [
        drawing.label(
            c.candidate if edges[c.candidate] == 1 else f"{c.candidate} from {c.reference}"
        )
        for c in found
    ]


def _differences(
    found: Sequence[Comparison], middles: Sequence[float], answer: Verdict
) -> Iterator[Any]:
    import plotly.graph_objects as go

    rows = zip(middles, found, strict=True)
    mine = [(middle, c) for middle, c in rows if c.verdict is answer]
    if mine:
        yield go.Scatter(
            x=[c.difference for _, c in mine],
            y=[middle for middle, _ in mine],
            error_x=drawing.bars([(c.difference, c.family_low, c.family_high) for _, c in mine]),
            customdata=[_difference_text(c) for _, c in mine],
            **drawing.verdict_look(answer),
        )


class _Point(NamedTuple):
    """A candidate with what it costs, and the verdict about it; None for the baseline."""

    cost: float
    score: Score
    answer: Verdict | None


def _points(results: Results, measured: dict[str, float], collection: str) -> list[_Point]:
    metric = results.metrics[0]
    scores = reading.scores_of(results, collection, metric)
    found = reading.against_baseline(results, collection, metric)
    return [
        _Point(measured[name], scores[name], found[name].verdict if name in found else None)
        for name in reading.by_score(scores)
        if name in measured
    ]


def _quality_and_cost(points: Sequence[_Point]) -> Iterator[Any]:
    import plotly.graph_objects as go

    tried = []
    for length in (_WIDE_LABEL, _NARROW_LABEL):  # broken only where that keeps it off a line
        names = _names(points, length)
        tried.append((*_sides(points, names), names))
    _, sides, names = min(tried, key=lambda each: each[0])
    for answer in (None, *drawing.VERDICTS):
        mine = [point for point in points if point.answer is answer]
        if mine:
            look = drawing.verdict_look(answer) | {"mode": "markers+text"}
            yield go.Scatter(
                x=[point.cost for point in mine],
                y=[point.score.mean for point in mine],
                error_y=_score_bars([p.score for p in mine]) | {"thickness": 1, "width": 0},
                text=[names[point.score.candidate] for point in mine],
                textposition=[sides[point.score.candidate] for point in mine],
                cliponaxis=False,
                customdata=[_score_text(point.score) for point in mine],
                **look,
            )


def _frontier(points: Sequence[_Point], *, is_named: bool) -> Any:
    """Return the line along the candidates that no other beats at a lower or equal cost."""
    import plotly.graph_objects as go

    costs = {point.score.candidate: point.cost for point in points}
    means = {point.score.candidate: point.score.mean for point in points}
    front = sorted((costs[name], means[name]) for name in reading.front(means, costs))
    return go.Scatter(
        x=[cost for cost, _ in front],
        y=[mean for _, mean in front],
        mode="lines",
        line={"color": drawing.GREY, "dash": "dot", "width": 1.5, "shape": "hv"},
        name="Pareto frontier of the means",
        showlegend=is_named,
        hoverinfo="skip",
    )


def _names(points: Sequence[_Point], length: int) -> dict[str, str]:
    """Return the name beside each point, in lines of at most `length` characters.

    Points that nearly coincide share the highest one's.
    """
    xs = {point.score.candidate: math.log10(point.cost) for point in points}
    ys = {point.score.candidate: point.score.mean for point in points}
    near_x = _NEAR_X * (max(xs.values()) - min(xs.values()))
    near_y = _NEAR_Y * (max(ys.values()) - min(ys.values()))
    groups: list[list[str]] = []
    for name in sorted(ys, key=lambda each: -ys[each]):
        for group in groups:
            first = group[0]
            if abs(xs[name] - xs[first]) <= near_x and ys[first] - ys[name] <= near_y:
                group.append(name)
                break
        else:
            groups.append([name])
    texts = {
        group[0]: "<br>".join(drawing.label(name, length=length) for name in group)
        for group in groups
    }
    return dict.fromkeys(xs, "") | texts


def _sides(points: Sequence[_Point], names: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Return where the name of each point stands: in the panel, on no point and no other name.

    Where it can, it also stays off the intervals and the frontier. The first value counts what the
    names lie on.
    """
    low, high = drawing.log_axis([point.cost for point in points])["range"]
    ends = [end for point in points for end in (point.score.low, point.score.high)]
    across = _PANEL_PX[0] / (high - low)
    along = _PANEL_PX[1] / (max(ends) - min(ends) or 1.0)
    places = {
        p.score.candidate: ((math.log10(p.cost) - low) * across, -p.score.mean * along)
        for p in points
    }
    marks = [
        _Box(x - _MARK_PX, y - _MARK_PX, x + _MARK_PX, y + _MARK_PX) for x, y in places.values()
    ]
    off = _LINE_OFF_PX
    lines = [
        _Box(x - off, -p.score.high * along, x + off, -p.score.low * along)
        for p, (x, _) in zip(points, places.values(), strict=True)
    ]
    costs = {p.score.candidate: p.cost for p in points}
    best = reading.front({p.score.candidate: p.score.mean for p in points}, costs)
    for (x, y), (next_x, next_y) in pairwise(sorted(places[name] for name in best)):
        lines += [_Box(x, y - off, next_x, y + off), _Box(next_x - off, next_y, next_x + off, y)]
    middle = sum(x for x, _ in places.values()) / len(points)
    found: dict[str, str] = {}
    lies_on: dict[str, int] = {}
    taken: dict[str, _Box] = {}
    for name in (*places, *places):  # once more, when all others have a place
        if not names[name]:
            continue
        boxes = _boxes(*places[name], names[name], is_right=places[name][0] > middle)
        others = [*marks, *(box for other, box in taken.items() if other != name)]
        crowded = {
            side: 2 * sum(box.meets(other) for other in others)
            + sum(box.meets(line) for line in lines)
            + 4 * (box.left < 0 or box.right > _PANEL_PX[0])
            for side, box in boxes.items()
        }
        found[name] = min(crowded, key=crowded.__getitem__)
        lies_on[name] = crowded[found[name]]
        taken[name] = boxes[found[name]]
    return sum(lies_on.values()), dict.fromkeys(places, "top right") | found


def _boxes(x: float, y: float, name: str, *, is_right: bool) -> dict[str, _Box]:
    """Return the places of a name beside its point, in pixels, the preferred first."""
    wide, tall = text.width(name), text.height(name)
    lefts = {"right": x + _MARK_PX, "left": x - _MARK_PX - wide, "center": x - wide / 2}
    tops = {"top": y - 4 - tall, "bottom": y + 4, "middle": y - tall / 2}
    sides = ("left", "right") if is_right else ("right", "left")
    wanted = [*product(("top", "bottom", "middle"), sides), ("top", "center"), ("bottom", "center")]
    return {
        f"{high} {side}": _Box(lefts[side], tops[high], lefts[side] + wide, tops[high] + tall)
        for high, side in wanted
    }


class _Box(NamedTuple):
    """A rectangle in pixels, downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        """Tell whether the two overlap."""
        return max(self.left, other.left) < min(self.right, other.right) and max(
            self.top, other.top
        ) < min(self.bottom, other.bottom)


def _line(family: reading.WidthFamily, scores: dict[str, Score], look: tuple[str, str, str]) -> Any:
    import plotly.graph_objects as go

    colour, symbol, dash = look
    mine = [scores[width.candidate] for width in family.widths]
    symbols = [symbol if width.is_trained else f"{symbol}-open" for width in family.widths]
    return go.Scatter(
        x=[width.dimension for width in family.widths],
        y=[score.mean for score in mine],
        error_y=_score_bars(mine),
        name=drawing.label(family.owner, length=72),
        mode="lines+markers",
        line={"color": colour, "dash": dash},
        marker={"symbol": symbols, "size": 10, "color": colour},
        customdata=[_score_text(score) for score in mine],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _key(text: str, *, line: bool = False) -> Any:
    """Return an entry of the legend that has no points."""
    import plotly.graph_objects as go

    return go.Scatter(
        x=[None],
        y=[None],
        mode="lines" if line else "markers",
        marker={"symbol": "circle-open", "size": 10, "color": drawing.GREY},
        line={"color": drawing.GREY, "dash": "dot", "width": 1},
        name=text,
    )


def _score_bars(scores: Sequence[Score]) -> dict[str, Any]:
    return drawing.bars([(score.mean, score.low, score.high) for score in scores])


def _score_text(score: Score) -> str:
    value = formats.with_interval(score.mean, score.low, score.high)
    name = drawing.label(score.candidate, length=_WIDE_LABEL)
    return f"{name}<br>{score.metric} {value} n={score.n:,}"


def _difference_text(found: Comparison) -> str:
    value = reading.family_gap(found)
    name = drawing.label(f"{found.candidate} against {found.reference}", length=_WIDE_LABEL)
    return f"{name}<br>{value}, {formats.p_equals(found.p_adjusted)}, n={found.n:,}"
