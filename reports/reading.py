"""Reading: looking up in stored results what tables, sentences and figures show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from harness.results.chunk_sizes import ChunkSize
from harness.results.comparison import Comparison, Role
from harness.results.values import CandidateResult, Costs, Results, Score
from harness.runs.metrics import Metric, parse_metric
from harness.statistics.verdicts import Verdict
from harness.suite.kinds import SHORTENED
from reports import formats

Unit = Literal["query_ms_p95", "bytes_per_document"]

UNITS: dict[Unit, str] = {
    "query_ms_p95": "query p95, ms",
    "bytes_per_document": "bytes per document",
}
SHAPES: dict[Verdict, str] = {
    Verdict.BETTER: "▲",
    Verdict.EQUIVALENT: "◆",
    Verdict.WORSE: "▼",
    Verdict.INCONCLUSIVE: "●",
}


class Branch(NamedTuple):
    """A candidate in the tree; a root has depth 0."""

    candidate: CandidateResult
    depth: int


class Width(NamedTuple):
    """A candidate as one width of a model; the full width counts as trained."""

    candidate: str
    dimension: int
    is_trained: bool


class WidthFamily(NamedTuple):
    """A candidate with its truncations, at least two widths from narrow to wide."""

    owner: str
    widths: list[Width]


def branches(results: Results) -> list[Branch]:
    """Return the candidates with each derived one below its parent, else in the suite's order.

    A fusion has several parents, so it is a root of its own.
    """
    children: dict[str | None, list[CandidateResult]] = {}
    for candidate in results.candidates:
        parent = candidate.parents[0] if len(candidate.parents) == 1 else None
        children.setdefault(parent, []).append(candidate)
    found: list[Branch] = []
    waiting = [Branch(root, 0) for root in reversed(children.get(None, []))]
    while waiting:
        branch = waiting.pop()
        found.append(branch)
        below = children.get(branch.candidate.name, [])
        waiting += [Branch(child, branch.depth + 1) for child in reversed(below)]
    return found


def scores_of(results: Results, collection: str, metric: str) -> dict[str, Score]:
    """Return the scores of a metric on a collection, by candidate."""
    return {
        score.candidate: score
        for score in results.scores
        if score.collection == collection and score.metric == metric
    }


def comparisons_of(
    results: Results, collection: str, metric: str, *, role: Role
) -> list[Comparison]:
    """Return comparisons to the baseline, or along the tree, in the order of the tree.

    An edge from the baseline is the comparison with it, whose interval and p decide.
    """
    places = {branch.candidate.name: place for place, branch in enumerate(branches(results))}
    mine = [
        each
        for each in results.comparisons
        if (each.collection, each.metric) == (collection, metric)
    ]
    decided = {(each.candidate, each.reference): each for each in mine if each.role == "baseline"}
    found = [
        decided.get((each.candidate, each.reference), each) for each in mine if each.role == role
    ]
    return sorted(found, key=lambda comparison: places[comparison.candidate])


def against_baseline(results: Results, collection: str, metric: str) -> dict[str, Comparison]:
    """Return the comparisons to the baseline, by candidate."""
    found = comparisons_of(results, collection, metric, role="baseline")
    return {comparison.candidate: comparison for comparison in found}


def family_gap(found: Comparison | ChunkSize) -> str:
    """Return a difference with the interval that decides, which holds for its whole family."""
    return formats.difference(found.difference, found.family_low, found.family_high)


def by_score(scores: Mapping[str, Score]) -> list[str]:
    """Return the candidates with the best mean first; those alike keep their order."""
    return sorted(scores, key=lambda name: -scores[name].mean)


def metric_families(results: Results) -> list[list[str]]:
    """Return every metric that was computed, grouped by family, each by rising cutoff."""
    families: dict[str, dict[str, Metric]] = {}
    for score in results.scores:
        parsed = parse_metric(score.metric)
        families.setdefault(parsed.family, {})[score.metric] = parsed
    return [
        sorted(
            family,
            key=lambda name: (
                family[name].parameter or 0.0,
                family[name].cutoff,
                family[name].level,
            ),
        )
        for family in families.values()
    ]


def cost_by_candidate(costs: Costs, collection: str, unit: Unit) -> dict[str, float]:
    """Return one cost by candidate, where it was measured and has a place on a logarithmic axis."""
    found = {
        cost.candidate: cost.settled_ms_p95 if unit == "query_ms_p95" else cost.bytes_per_document
        for cost in costs.costs
        if cost.collection == collection
    }
    return {
        name: value
        for name, value in found.items()
        if value is not None and math.isfinite(value) and value > 0
    }


def front(means: Mapping[str, float], costs: Mapping[str, float]) -> set[str]:
    """Return the candidates that no other beats in the mean at a lower or equal cost.

    >>> sorted(front({"a": 0.5, "b": 0.4, "c": 0.4}, {"a": 2.0, "b": 1.0, "c": 3.0}))
    ['a', 'b']
    """

    def beaten(name: str) -> bool:
        mine = means[name], -costs[name]
        others = ((means[other], -cost) for other, cost in costs.items())
        return any(
            other != mine and other[0] >= mine[0] and other[1] >= mine[1] for other in others
        )

    return {name for name in costs if not beaten(name)}


def width_families(results: Results) -> list[WidthFamily]:
    """Return every candidate that has truncations, with all of its widths."""
    by_name = {candidate.name: candidate for candidate in results.candidates}
    families: dict[str, list[Width]] = {}
    for candidate in results.candidates:
        owner = candidate
        while owner.kind in SHORTENED:
            owner = by_name[owner.parents[0]]
        if candidate.dimension is not None:
            is_trained = owner is candidate or candidate.dimension in candidate.trained_widths
            width = Width(candidate.name, candidate.dimension, is_trained)
            families.setdefault(owner.name, []).append(width)
    return [
        WidthFamily(owner, sorted(widths, key=lambda width: width.dimension))
        for owner, widths in families.items()
        if len({width.dimension for width in widths}) > 1
    ]
