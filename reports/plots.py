"""Plots: figures with their titles and captions, the same on the page and in the app."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.diagnosis.values import CandidateDiagnosis, DataHealth, FailureCluster, Topic
from harness.errors import sufficing
from harness.results.values import Costs, Results
from reports import (
    curves,
    diagnosis_figures,
    figures,
    formats,
    gate_figures,
    query_figures,
    tree_figures,
    wording,
)
from reports.diagnosis_tables import STAGES, STAGES_KEY, bounds_say_nothing, by_score
from reports.facts import PairedDifference
from reports.failed import Failed, ended
from reports.lookup import QueryScores
from reports.pairs import EveryPair
from reports.stored import Stored
from reports.tables import Table

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_FEWEST_FLOWING = 10  # misses; the table of stages says it of fewer
FEWEST_ON_A_MAP = 200  # queries; fewer are a list
_LINES = 5  # candidates in the history; more colours and dashes do not tell apart


class Plot(NamedTuple):
    """A figure, what one sees in it, and the same in words for those who do not see it.

    Attributes:
        key: short name on its page.
    """

    key: str
    title: str
    caption: str
    figure: Figure


def overview(results: Results, costs: Costs, collection: str) -> Iterator[Plot]:
    """Yield the figures of all candidates on a collection; none that would be empty."""
    margin = results.margin
    found = (
        Plot(
            "differences",
            "Differences from the baseline",
            figures.differences_caption(results, collection),
            figures.differences(results, collection, margin=margin),
        ),
        Plot(
            "cost",
            "Quality against cost",
            figures.quality_and_cost_caption(results, costs, collection),
            figures.quality_and_cost(results, costs, collection),
        ),
        Plot(
            "widths",
            "Fewer dimensions",
            figures.widths_caption(results, collection),
            figures.widths(results, collection, margin=margin),
        ),
    )
    yield from (plot for plot in found if plot.figure.data)


def learning_curves(results: Results) -> Iterator[tuple[Plot, Table]]:
    """Yield every learning curve as a figure and a table."""
    for curve in results.learning_curves:
        plot = Plot(
            f"curve-{curve.candidate}",
            f"Learning curve of {curve.candidate}",
            curves.caption(curve),
            curves.figure(curve),
        )
        yield plot, curves.table(curve)


def gap_split(stored: Stored, collection: str) -> Iterator[Plot]:
    """Yield what keeps each candidate that was diagnosed from a perfect score."""
    found = [
        one
        for candidate in stored.results.candidates
        if (one := stored.diagnosed(candidate.name, collection)) is not None
    ]
    if found and stored.diagnosis is not None:
        metric = stored.diagnosis.metric
        yield Plot(
            "gap",
            "What keeps each candidate from a perfect score",
            diagnosis_figures.gap_split_caption(found, metric),
            diagnosis_figures.gap_split(found, metric=metric),
        )


def tree(results: Results, collection: str) -> Iterator[Plot]:
    """Yield the tree of candidates, where one is derived from another."""
    if any(candidate.parents for candidate in results.candidates):
        yield Plot(
            "tree",
            "What each change did",
            figures.differences_caption(results, collection, role="parent"),
            tree_figures.tree(results, collection),
        )


def waterline(
    scores: QueryScores, gap: PairedDifference, *, first: str, second: str, metric: str
) -> Plot:
    """Return the difference of every query, sorted."""
    values = scores.values_of
    return Plot(
        "waterline",
        f"{second} wins {gap.wins:,} queries, ties {gap.ties:,} and loses {gap.losses:,}",
        f"Difference of every query in {metric}, {second} minus {first}, sorted; mean "
        f"{formats.difference(gap.difference, gap.low, gap.high)}, n={gap.n:,}.",
        query_figures.waterline(values[second] - values[first], metric=metric),
    )


def agreement(scores: QueryScores, *, first: str, second: str, metric: str) -> Plot:
    """Return how often two candidates have each pair of values."""
    values = scores.values_of
    return Plot(
        "agreement",
        "Scores of the two, query by query",
        f"Queries by the {metric} of {first} and of {second}. On the dotted line they tie, "
        f"above it {second} wins.",
        query_figures.agreement(
            values[first], values[second], names=(first, second), metric=metric
        ),
    )


def every_pair(found: EveryPair, collection: str, *, metric: str) -> Plot:
    """Return the difference of every two candidates."""
    return Plot(
        "pairs",
        f"Difference of each row's candidate from each column's in {metric}",
        f"Mean paired differences on {collection}, n={found.n:,}. On pointing: p of a paired "
        "t-test, adjusted over all pairs. Exploratory: the verdicts are those of the leaderboard.",
        tree_figures.pairs(found, metric=metric),
    )


def stages(one: CandidateDiagnosis, beside: Sequence[CandidateDiagnosis], metric: str) -> Plot:
    """Return at which stage the scores of some candidates are lost, with the numbers of one."""
    counts = {count.stage: count for count in one.stages}
    said = "; ".join(
        f"{words} {formats.mean(counts[stage].loss)} ({counts[stage].n:,} queries)"
        for stage, words in STAGES.items()
        if stage in counts
    )
    return Plot(
        "stages",
        f"Where the score is lost (n={one.n:,} queries)",
        f"{one.candidate} scores {formats.mean(one.gap.achieved)} in {metric} and loses: {said}."
        f" {STAGES_KEY}",
        diagnosis_figures.stages(beside, metric=metric),
    )


def losses(
    one: CandidateDiagnosis, failed: Failed, metric: str, topics: Sequence[Topic]
) -> Iterator[Plot]:
    """Yield the map of the queries by the metric, if there are enough of them for one."""
    if len(failed.query_ids) >= FEWEST_ON_A_MAP:
        clusters = [cluster for cluster in one.clusters if cluster.mode == "loss"]
        colours = diagnosis_figures.metric_colours(1 - failed.losses, metric=metric)
        yield query_map(failed, colours, clusters, topics)


def query_map(
    failed: Failed,
    coloured: diagnosis_figures.Colouring | None,
    clusters: Sequence[FailureCluster],
    topics: Sequence[Topic],
    chosen: str = "",
) -> Plot:
    """Return the map of the queries, with the members of one cluster circled."""
    colours = "the cluster of each query" if coloured is None else coloured.title
    said = [f"Colours: {colours}."]
    if any(cluster.region == "topic" for cluster in clusters):
        said.append("Boxes: clusters by topic, with their keys in the table.")
    if anywhere := [cluster.key for cluster in clusters if cluster.region != "topic"]:
        said.append(
            f"{wording.joined(anywhere)} {'has' if len(anywhere) == 1 else 'have'} no box: queries "
            "that share a length, a word or another attribute lie anywhere on the map."
        )
    if chosen and coloured is not None:
        said.append(f"Circled: the members of {chosen}.")
    if topics:
        said.append("Names in italics: what the queries there are about.")
    if len(failed.query_ids) > diagnosis_figures.CROWD:
        said.append("Shades: where queries are many.")
    said.append("Neighbours are alike; distances far apart mean little.")
    return Plot(
        "map",
        f"Map of the {len(failed.query_ids):,} queries",
        " ".join(said),
        diagnosis_figures.query_map(
            failed.places,
            coloured,
            [(cluster, failed.rows(cluster.members)) for cluster in clusters],
            topics=topics,
            chosen=chosen,
        ),
    )


def flow(one: CandidateDiagnosis, failed: Failed) -> Iterator[Plot]:
    """Yield the flow of the misses from stage to reason to remedy, if any has a reason."""
    misses = ended(failed, one.findings)
    if len(misses) >= _FEWEST_FLOWING and any(reason for _, reason in misses):
        yield Plot(
            "flow",
            f"{len(misses):,} misses: stage, reason, remedy",
            "Each query counts once, by its strongest reason: one confirmed by a change, else "
            "one more frequent among misses than hits.",
            diagnosis_figures.flow(misses, one.findings),
        )


def bounds(health: DataHealth, *, metric: str) -> Iterator[Plot]:
    """Yield how far the scores of a collection depend on unjudged documents."""
    if health.bounds and not bounds_say_nothing(health):
        yield Plot(
            "bounds",
            "How far scores depend on unjudged documents",
            f"Bounds of each mean {metric}. {wording.BOUNDS}",
            diagnosis_figures.bounds(by_score(health.bounds), metric=metric),
        )


def history(stored: Stored, collection: str, names: Sequence[str] = ()) -> Iterator[Plot]:
    """Yield the scores of some candidates over the runs of a suite, if any of them changed.

    Args:
        stored: a results folder.
        collection: name.
        names: candidates to show first; the baseline and others follow.
    """
    results = stored.results
    past = [run for run in stored.history if run.metric == results.metrics[0]]
    runs = past[:1]
    for run in past[1:]:
        if (run.collections, run.scores) != (runs[-1].collections, runs[-1].scores):
            runs.append(run)
    if len(runs) < 2:
        return
    every = [results.baseline, *names, *(candidate.name for candidate in results.candidates)]
    yield Plot(
        "history",
        f"{runs[-1].metric} of {len(runs)} runs",
        f"On {collection}, with 95% intervals, oldest first; runs that changed no score are left "
        "out. Dashed vertical line: texts or judgements changed, so scores before and after are "
        "not comparable.",
        gate_figures.history(runs, collection, list(dict.fromkeys(every))[:_LINES]),
    )


def planner(results: Results, *, sd: float, queries: int, metric: str) -> Plot:
    """Return what a number of queries can detect."""
    sizes = {results.margin: "the margin"}
    sizes[results.gain] = (
        "the margin, or a worthwhile gain," if results.gain in sizes else "a worthwhile gain"
    )
    takes = " ".join(
        f"Detecting {what} of {size:g} takes about "
        f"{sufficing(gate_figures.needed(sd, size))} queries."
        for size, what in sizes.items()
    )
    detectable = float(gate_figures.detectable(sd, np.array([queries]))[0])
    return Plot(
        "planner",
        f"{queries:,} queries detect a difference of ±{formats.mean(detectable)} (one test, "
        "unadjusted)",
        takes,
        gate_figures.planner(sd, queries, margin=results.margin, metric=metric),
    )
