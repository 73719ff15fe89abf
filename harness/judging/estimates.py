"""Estimates: paired differences from pairs that were judged with known chances.

nDCG, recall and reciprocal rank of a query are no sums over its documents, so weighing each judged
document by its chance would be biased. But a query's documents are judged in a fixed order, as far
as its draw goes. Let f(l) be the difference of two candidates on the query if the first l documents
of its pool have their human grades, and all others a fill. Then

    f(0) + sum over the judged l of (f(l) - f(l - 1)) / chance of l

has the mean f(all), the difference under human grades alone, for any metric and any fill: each step
is there with the chance that it is divided by (the coupled sum of Rhee & Glynn 2015). So whatever
is not judged is neither irrelevant nor what a model says: it is estimated. Two fills are used: none
(grade 0), and the grades of a model. Their mixture, with the weight lambda that varies least, is
prediction-powered inference with power tuning (Angelopoulos, Duchi & Zrnic 2023) for such samples.
Lambda of a query is found on other queries, so it brings no bias.

What is estimated is the metric with the judgements of the pool: relevant documents that no compared
candidate returns among its first ranks are missing from recall and from the best possible score, as
with every pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from harness.arrays import Clusters, Counts, Flags, Integers, Values
from harness.collection import NO_GRADE, Judgements
from harness.judging.design import Design
from harness.runs.metrics import Metric, score
from harness.runs.run import Run
from harness.statistics.distributions import t_quantile
from harness.statistics.power import CONFIDENCE, minimum_detectable
from harness.statistics.units import Units, estimate, units
from harness.statistics.unseen import cautious, with_phantom

FEWEST_JUDGED = 6  # judged queries from which an interval is given
_FOLDS = 5  # of queries, to find lambda on the others
_FEWEST_TUNED = 20  # judged queries from which a model's grades are used


@dataclass(frozen=True)
class Estimated:
    """The mean difference of two candidates, estimated from a sample of judgements.

    Attributes:
        difference: candidate minus reference.
        low, high: interval of the mean over all queries that could be asked.
        se: standard error.
        weight: lambda, the mean weight of the model's grades, 0 to 1; 0 where there are none.
        n_judged: queries of which a document was judged.
        values: float64 [n_queries], the estimate of each query, whose mean is `difference`; the
            standard error of their mean is `se`.
        clusters: int [n_queries], queries that belong together; None where all are independent.
    """

    difference: float
    low: float
    high: float
    se: float
    weight: float
    n_judged: int
    values: Values = field(repr=False)
    clusters: Clusters | None = field(default=None, repr=False)

    def as_differences(self, confidence: float = CONFIDENCE) -> Values:
        """Return values of which the t-interval of paired differences is as wide as this one.

        Few judged queries stand for many, and what was not seen widens the interval; a t-interval
        over all queries knows neither, so the deviations of the values are stretched. float64
        [n_queries].

        Raises:
            ValueError: there is no interval.
        """
        half = max(self.high - self.difference, self.difference - self.low)
        if not np.isfinite(half):
            raise ValueError("too few queries are judged")
        deviations = self.values - self.difference
        if not self.se:  # no difference was seen; the interval says how large one may be
            deviations = np.where(np.arange(len(self.values)) % 2, 1.0, -1.0)
            deviations -= deviations.mean()
        plain = estimate(units(deviations[:, None], self.clusters))
        width = t_quantile((1 + confidence) / 2, plain.dof) * float(plain.se[0])
        stretched: Values = self.difference + deviations * (half / width if width else 0.0)
        return stretched


def prefix_scores(
    plan: Design, runs: Sequence[Run], metric: Metric, grades: Integers, *, fill: Integers
) -> Values:
    """Return the metric of each run as more and more documents of each pool have human grades.

    Args:
        plan: what is judged.
        runs: of the candidates.
        metric: any whose cutoff is a rank.
        grades: int [n_queries, width], human grades in the places of the pools; `NO_GRADE` where
            there is none, which keeps the fill.
        fill: int [n_queries, width], grades of what is not judged.

    Returns:
        float64 [n_queries, width + 1, n_runs], after 0, 1, ... documents of the pool.
    """
    found = np.empty((*np.add(grades.shape, (0, 1)), len(runs)))
    judged = grades != NO_GRADE
    for count in range(grades.shape[1] + 1):
        changed = np.arange(len(grades)) if count == 0 else np.flatnonzero(judged[:, count - 1])
        found[:, count] = found[:, count - 1] if count else 0
        if not len(changed):
            continue
        used = np.array(fill[changed])
        here = judged[changed, :count]
        used[:, :count][here] = grades[changed, :count][here]
        held = _with_grades(plan, changed, used)
        for place, run in enumerate(runs):
            part = Run(run.documents[changed], run.scores[changed])
            scored = score(part, held, [metric], n_queries=len(changed))
            found[changed, count, place] = scored.values[str(metric)]
    return found


def _with_grades(plan: Design, rows: Integers, grades: Integers) -> Judgements:
    """Return what is known and the grades of the pools of some queries, renumbered from 0."""
    place = np.full(len(plan.documents), -1, dtype=np.int32)
    place[rows] = np.arange(len(rows))
    known = plan.known
    kept = place[known.queries] >= 0
    queries, columns = np.nonzero(plan.documents[rows] >= 0)
    parts = (
        (place[known.queries[kept]], queries),
        (known.documents[kept], plan.documents[rows][queries, columns]),
        (known.grades[kept], grades[queries, columns]),
    )
    all_queries, documents, values = (np.concatenate(each).astype(np.int32) for each in parts)
    order = np.argsort(all_queries, kind="stable")
    return Judgements(all_queries[order], documents[order], values[order])


@dataclass(frozen=True, eq=False)
class Sample:
    """What was judged of a design.

    Attributes:
        chances: float64 [n_queries, width], of each pair.
        depths: int64 [n_queries], how many documents of each pool are judged, its first ones.
    """

    chances: Values = field(repr=False)
    depths: Counts = field(repr=False)

    def of(self, rows: Integers | Flags) -> Sample:
        """Return the same of some queries."""
        return Sample(self.chances[rows], self.depths[rows])

    @classmethod
    def after(cls, plan: Design, count: int) -> Sample:
        """Return the sample of the first `count` pairs of a design."""
        queries, _ = plan.order
        depths = np.bincount(queries[:count], minlength=len(plan.sizes))
        return cls(plan.chances(plan.time_after(count)), depths)


def estimate_difference(
    sample: Sample,
    human: Values,
    model: Values | None = None,
    *,
    confidence: float = CONFIDENCE,
    clusters: Clusters | None = None,
) -> Estimated:
    """Return the mean difference with its interval.

    Args:
        sample: what was judged.
        human: float64 [n_queries, width + 1], f(0), f(1), ... with nothing as the fill.
        model: the same with a model's grades as the fill; None where there are none.
        confidence: of the interval.
        clusters: int [n_queries], queries that belong together; None where all are independent.
    """
    found = _Filled.of(sample, human, clusters)
    values, weight = found.values, 0.0
    if model is not None and found.n_judged >= _FEWEST_TUNED:
        other = _Filled.of(sample, model, clusters)
        weights = _tuned(found.values, other.values - found.values, clusters)
        values = values + weights * (other.values - found.values)
        weight = float(weights.mean())
        found = found.mixed(other, weight)
    over = estimate(units(values[:, None], clusters))
    mean, se = float(over.mean[0]), float(over.se[0])
    end = (weight, found.n_judged, values, clusters)
    if not np.isfinite(se) or (found.share and found.n_units < FEWEST_JUDGED):
        return Estimated(mean, -np.inf, np.inf, np.inf, *end)
    below, above, dof = found.unseen(confidence)
    half = t_quantile((1 + confidence) / 2, min(dof, over.dof)) * se
    return Estimated(mean, mean - half - below, mean + half + above, se, *end)


def judgements_needed(
    plan: Design,
    difference: float,
    *,
    count: int = 0,
    se: float | None = None,
    added: float = 0.0,
) -> int | None:
    """Return about how many judgements show the sign of a difference with a power of 0.80.

    Before anything is judged the sizes of the design say how far judgements move differences; later
    the standard error that was found corrects them. What rare losses and gains not yet seen add to
    the interval is one query among those judged: it shrinks as they become more.

    Args:
        plan: what is judged.
        difference: mean over all queries, as found or as wanted; not 0.
        count: judged so far.
        se: standard error after them; None where nothing is judged.
        added: by which the interval is wider on the side of 0 than its standard error says.

    Returns:
        None where all pairs do not suffice: it takes more queries.
    """
    square = difference**2 / len(plan.sizes)
    scale = 1.0 if se is None else (se**2 + square) / plan.expected_square(count)
    counts = np.unique(
        np.geomspace(max(FEWEST_JUDGED, count), max(FEWEST_JUDGED, plan.n_pairs), 60).astype(int)
    )
    seen = plan.queries_after(count)
    for each in counts.tolist():
        variance = max(0.0, scale * plan.expected_square(each) - square)
        detected = float(minimum_detectable(np.array([np.sqrt(variance)]))[0])
        if added:
            detected += added * seen / plan.queries_after(each)
        if detected <= abs(difference):
            return int(each)
    return None


def _tuned(values: Values, change: Values, clusters: Clusters | None) -> Values:
    """Return the weight of the change for each query, found on the other folds of queries."""
    weights = np.zeros(len(values))
    fold = (np.arange(len(values)) if clusters is None else clusters) % _FOLDS
    for each in range(_FOLDS):
        others = fold != each
        one, two = values[others] - values[others].mean(), change[others] - change[others].mean()
        spread = float(two @ two)
        weights[~others] = np.clip(-float(one @ two) / spread, 0, 1) if spread > 0 else 0
    return weights


@dataclass(frozen=True, eq=False)
class _Filled:
    """The estimates of one fill.

    Queries whose first document has a chance below 1 are a sample of those like them: their mean is
    estimated as the sum of step / chance over those that were judged, times how many were to be
    judged over how many were. All others are there for certain.

    Attributes:
        values: float64 [n_queries], with the mean and the spread of the estimate.
        seen: float64 [n_seen], what is known of each query that was judged or is certain.
        sizes: float64 [n_seen], how many queries each stands for.
        share: of the queries on which a judgement can change anything.
        n_judged: queries of which a document was judged.
        is_whole: whether every pair is judged.
        clusters: int [n_seen], or None.
    """

    values: Values
    seen: Values
    sizes: Values
    share: float
    n_judged: int
    is_whole: bool
    clusters: Clusters | None

    @classmethod
    def of(cls, sample: Sample, prefix: Values, clusters: Clusters | None) -> _Filled:
        width = sample.chances.shape[1]
        judged = np.arange(width) < sample.depths[:, None]
        steps = np.diff(prefix, axis=1)
        sums = np.divide(steps, sample.chances, out=np.zeros(steps.shape), where=judged).sum(axis=1)
        first = sample.chances[:, 0]
        drawn, is_in = (first > 0) & (first < 1), sample.depths > 0
        values, base = prefix[:, 0] + sums, prefix[:, 0]
        n_drawn, n_in = int(drawn.sum()), int((drawn & is_in).sum())
        sizes = np.ones(len(first))
        if n_in:
            level = first[drawn].mean()
            scaled = sums[drawn & is_in] * level
            mean = scaled.mean()
            spread = np.sqrt(n_in / max(1, n_in - 1)) * n_drawn / n_in
            values[drawn] = base[drawn] + mean
            values[drawn & is_in] += spread * (scaled - mean)
            sizes[drawn] = n_drawn / n_in
        is_seen = (first > 0) & (is_in | ~drawn)
        known = base + sums * np.where(drawn, first[drawn].mean() if n_in else 1.0, 1.0)
        return cls(
            values,
            known[is_seen],
            sizes[is_seen],
            float((first > 0).mean()),
            int(is_in.sum()),
            bool(((sample.chances == 1) | (sample.chances == 0)).all()),
            None if clusters is None else clusters[is_seen],
        )

    @property
    def n_units(self) -> int:
        """Queries that are seen, or clusters of them."""
        return len(self.seen if self.clusters is None else np.unique(self.clusters))

    def mixed(self, other: _Filled, weight: float) -> _Filled:
        """Return what is seen with the weight of another fill."""
        seen = self.seen + weight * (other.seen - self.seen)
        return replace(self, seen=seen)

    def unseen(self, confidence: float) -> tuple[float, float, float]:
        """Return what rare losses and gains not yet seen add below and above, and the degrees."""
        if not self.share:
            return 0.0, 0.0, np.inf
        columns = np.stack([self.seen * self.sizes, self.sizes], axis=1)
        sums = units(columns, self.clusters).sums
        sample = Units(sums[:, :1], sums[:, 1])
        careful = cautious(sample)
        critical = t_quantile((1 + confidence) / 2, careful.found.dof)
        if not self.seen.any() and not self.is_whole:
            # No difference was seen at all, which says the less the fewer queries were judged.
            worst = estimate(with_phantom(sample, -1))
            end = (critical * worst.se - worst.mean).item() * self.share
            return end, end, careful.found.dof
        half = critical * careful.found.se
        below = (careful.found.mean - half - careful.low(critical)).item()
        above = (careful.high(critical) - careful.found.mean - half).item()
        return max(0.0, below) * self.share, max(0.0, above) * self.share, careful.found.dof
