"""Rules: when the queries show that a gate is met, that it is not, or neither, and the sentence.

Everything works on columns, so that a replay measures the same code that gates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Flags, Indices, Values
from harness.gates.report import State
from harness.statistics.distributions import t_probability
from harness.statistics.families import critical_value
from harness.statistics.inferiority import difference_bounds, queries_for_non_inferiority
from harness.statistics.pairs import half_width
from harness.statistics.power import queries_for_effect
from harness.statistics.seeds import seed_spreads
from harness.statistics.sign_flips import coin_tosses
from harness.statistics.units import estimate, on_grid, units
from harness.statistics.verdicts import more_in_words
from harness.suite.gates import AtLeast, Better, NoWorse, Sampled


class Levels(NamedTuple):
    """Confidence of the one-sided lower bound and of the two-sided interval."""

    bound: float = 0.95
    interval: float = 0.95


class Seen(NamedTuple):
    """What the queries show of each column; all arrays are [n_columns].

    Attributes:
        mean: of the differences, or of the candidate's own values for `at_least`.
        se: its standard error.
        low, high: two-sided t-interval.
        bound: one-sided lower bound with the phantom loss; -inf for `at_least`, which has no use
            for it.
    """

    mean: Values
    se: Values
    low: Values
    high: Values
    bound: Values


class Conclusions(NamedTuple):
    """Which columns pass and which fail; the others are inconclusive."""

    passes: Flags
    fails: Flags

    def state(self, column: int) -> State:
        """Return the answer of one column."""
        if self.passes[column]:
            return State.PASS
        return State.FAIL if self.fails[column] else State.INCONCLUSIVE


def see(
    values: Values,
    spec: Sampled,
    levels: Levels,
    clusters: Clusters | None = None,
    *,
    seeds: Sequence[Values] = (),
) -> Seen:
    """Return mean, interval and bound of each column.

    Args:
        values: float64 [n_queries, n_columns], finite, n_queries at least 2; means over the seeds.
        spec: the gate.
        levels: above 0.95 each where several slices are judged together.
        clusters: int [n_queries], queries that belong together; None where all are independent.
        seeds: of each column the mean of each training seed, which another training would change;
            empty where nothing was trained.
    """
    found = estimate(units(values, clusters))
    mean, se, half = found.mean, np.array(found.se), half_width(found, levels.interval)
    low, high = mean - half, mean + half
    bound = np.full(values.shape[1], -np.inf)
    if isinstance(spec, NoWorse):
        bound = difference_bounds(values, confidence=levels.bound, clusters=clusters).low
    for column, spread in enumerate(seed_spreads(found, seeds) if len(seeds) else ()):
        if spread.se_seeds:
            wider = spread.widen(float(mean[column] - low[column]), levels.interval)
            below = spread.widen(float(mean[column] - bound[column]), 2 * levels.bound - 1)
            low[column], high[column] = mean[column] - wider, mean[column] + wider
            bound[column], se[column] = mean[column] - below, spread.se
    return Seen(mean, se, low, high, bound)


def answer(seen: Seen, spec: Sampled) -> Conclusions:
    """Return what a gate concludes from each column; the first that holds of pass and fail.

    `no_worse`, with the margin m, passes where the lower bound is above -m: by the bound with the
    phantom loss, so that a loss that is rare and total is not overlooked. It fails where the
    interval lies below 0 and the loss is more than m / 2; an interval below -m does so too. At
    equal quality that is a false alarm of 2.5% at most.

    `better` passes where the interval lies above the gain and fails where it lies at or below it:
    a candidate that ranks exactly as the baseline does is not better. `at_least` passes where the
    interval of the mean lies at or above the value and fails where it lies below.

    >>> from harness.suite.gates import NoWorse
    >>> gate = NoWorse(rule="no_worse", margin=0.01)
    >>> def of(difference, n=300):
    ...     return str(answer(see(np.full((n, 1), difference), gate, Levels()), gate).state(0))
    >>> of(0.0), of(-0.03), of(0.0, n=264)
    ('pass', 'fail', 'inconclusive')
    """
    match spec:
        case NoWorse():
            margin = spec.accepted_loss
            passes = seen.bound > -margin
            fails = (seen.high < 0) & (seen.mean < -margin / 2)
        case Better():
            passes, fails = seen.low > spec.gain, seen.high <= spec.gain
        case AtLeast():
            passes, fails = seen.low >= spec.value, seen.high < spec.value
    return Conclusions(passes, fails & ~passes)


class Column(NamedTuple):
    """Per-query values of one slice, and the rows of the collection that they belong to."""

    rows: Indices
    values: Values


def simultaneous_levels(
    columns: Sequence[Column],
    *,
    n_queries: int,
    seed: int,
    clusters: Clusters | None = None,
    permutations: int = 10_000,
) -> list[Levels]:
    """Return the confidence that each slice needs so that all together have 95%.

    Max-T as in `families.max_t`, for means over parts of the queries that may overlap: flips the
    deviations of each slice from its mean, with one toss for each query of the collection, and
    takes the 95% quantile of the largest studentised mean (one-sided for the bound, of absolute
    values for the interval). Slices of the same queries cost nothing, disjoint ones about as much
    as Bonferroni.

    >>> rows = np.arange(60)
    >>> one = Column(rows, np.linspace(-1, 1, 60))
    >>> simultaneous_levels([one], n_queries=60, seed=1)
    [Levels(bound=0.95, interval=0.95)]

    Args:
        columns: one for each slice, of 2 or more queries each.
        n_queries: of the collection.
        seed: 0 <= seed < 2**128.
        clusters: int [n_queries] of the collection, queries that share a toss; None for one each.
        permutations: sign flips drawn.
    """
    if len(columns) < 2:
        return [Levels() for _ in columns]
    member = (
        np.arange(n_queries) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    )
    deviations = np.zeros((int(member.max()) + 1, len(columns)))
    for place, (rows, values) in enumerate(columns):
        np.add.at(deviations[:, place], member[rows], values - values.mean())
    # Integers have exact sums: the verdict does not depend on the BLAS library or its threads.
    exact, _ = on_grid(deviations, np.ones(len(deviations)))
    sizes = np.array([len(np.unique(member[column.rows])) for column in columns], dtype=np.float64)
    total, squares = exact.sum(axis=0), (exact**2).sum(axis=0)
    largest, largest_absolute = [], []
    for tosses in coin_tosses(len(deviations), seed=seed, rows=permutations):
        sums = 2 * (tosses.astype(np.float64) @ exact) - total
        residual, t = sizes * squares - sums**2, np.zeros_like(sums)
        scale = np.sqrt(np.maximum(residual, 0))
        np.divide(np.sqrt(sizes - 1) * sums, scale, t, where=residual > 0)
        largest.append(t.max(axis=1))
        largest_absolute.append(np.abs(t).max(axis=1))
    one_sided, two_sided = (
        critical_value(np.concatenate(each), 0.95) for each in (largest, largest_absolute)
    )
    # The confidence at which a t-quantile equals the critical value.
    return [
        Levels(
            bound=max(0.95, t_probability(one_sided, size - 1)),
            interval=max(0.95, 2 * t_probability(two_sided, size - 1) - 1),
        )
        for size in sizes
    ]


def reason(
    state: State, spec: Sampled, *, seen: Seen, n: int, levels: Levels, counts: bool = True
) -> str:
    """Return the answer of a sampled gate as a sentence.

    Args:
        state: the answer.
        spec: the gate.
        seen: what the queries show, of one column.
        n: queries.
        levels: those that `seen` has.
        counts: say how many more queries would settle an inconclusive answer.
    """
    match spec:
        case NoWorse():
            return _no_worse(state, spec.accepted_loss, seen, n if counts else None, levels)
        case Better():
            gain = f"more than {spec.gain:g}"
            if state is State.PASS:
                return f"It gains {gain}: the whole interval lies above."
            if state is State.FAIL:
                return f"It does not gain {gain}: the whole interval lies at or below."
            more = _enough(seen, n, spec.gain) if counts else ""
            return f"A gain of {gain} is neither shown nor excluded.{more}"
        case AtLeast():
            if state is State.INCONCLUSIVE:
                more = _enough(seen, n, spec.value) if counts else ""
                return f"The interval of the mean contains {spec.value:g}.{more}"
            where = "at least" if state is State.PASS else "below"
            return f"The whole interval of the mean is {where} {spec.value:g}."


def unchanged(asked: str, warning: str, *, ranked_alike: bool) -> str:
    """Return the answer for an unchanged pipeline, with what a change could not show."""
    what = "No ranking changed" if ranked_alike else f"No query's {asked} changed"
    return f"{what}: an exact result, no inference. {warning}".strip()


def not_gated(n: int, spec: Sampled, mde: float | None) -> str:
    """Return why a set of queries is too small to be gated."""
    shows = ""
    if mde:
        shows = f" A difference below {mde:.3f} is not reliably detected (power under 0.80)."
    return f"{n} queries, fewer than min_queries = {spec.min_queries}.{shows}"


def _no_worse(state: State, margin: float, seen: Seen, n: int | None, levels: Levels) -> str:
    mean, bound = float(seen.mean[0]), -float(seen.bound[0])
    if state is State.PASS and bound < 0:
        return f"A gain of less than {-bound:.3g} is excluded; a loss below {margin:g} passes."
    if state is State.PASS:
        return f"A loss of {bound:.3g} or more is excluded; the margin is {margin:g}."
    if state is State.FAIL:
        most = "the margin" if -mean > margin else "half the margin"
        return f"It loses {-mean:.3g}, more than {most} of {margin:g}; the interval lies below 0."
    would = math.floor(bound * 1000 + 1) / 1000
    set_it = f" margin = {would:g} would pass it." if would <= 1 else ""
    possible = f"A loss of up to {bound:.3g} is possible; the margin is {margin:g}."
    if n is None:
        return f"{possible}{set_it}"
    sd, needed = float(seen.se[0]) * math.sqrt(n), []  # queries until it passes, or fails
    if mean > -margin:
        alpha = 1 - levels.bound
        needed.append(queries_for_non_inferiority(sd, margin, difference=mean, alpha=alpha))
    if mean < -margin / 2:
        needed.append(queries_for_effect(sd, mean, alpha=1 - levels.interval))
    return f"{possible}{_more(min(needed) - n, 'difference')}{set_it}"


def _enough(seen: Seen, n: int, limit: float) -> str:
    mean, se = float(seen.mean[0]), float(seen.se[0])
    if mean == limit:
        return ""
    critical = float((seen.high[0] - seen.mean[0]) / seen.se[0]) if se else 0.0
    alpha = 2 * t_probability(-critical, n - 1)
    return _more(queries_for_effect(se * math.sqrt(n), mean - limit, alpha=alpha) - n, "mean")


def _more(count: int, what: str) -> str:
    """Return how many more queries settle it; nothing where more queries alone do not."""
    if count <= 0:
        return ""
    return f" About {more_in_words(count)} would settle it at the same {what}."
