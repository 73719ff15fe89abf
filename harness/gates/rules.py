"""Rules: when the queries show that a gate is met, that it is not, or neither.

Everything works on columns, so that a replay measures the same code that gates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Flags, Values
from harness.gates.report import State
from harness.statistics.inferiority import bounds
from harness.statistics.pairs import half_width
from harness.statistics.seeds import SeedSpread
from harness.statistics.units import estimate, units
from harness.suite.spec import AtLeast, Better, NoWorse, Sampled


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
) -> Seen:
    """Return mean, interval and bound of each column.

    Args:
        values: float64 [n_queries, n_columns], finite, n_queries at least 2.
        spec: the gate.
        levels: above 0.95 each where several slices are judged together.
        clusters: int [n_queries], queries that belong together; None where all are independent.
    """
    found = estimate(units(values, clusters))
    half = half_width(found, levels.interval)
    bound = np.full(values.shape[1], -np.inf)
    if isinstance(spec, NoWorse):
        bound = bounds(values, confidence=levels.bound, clusters=clusters).low
    return Seen(found.mean, found.se, found.mean - half, found.mean + half, bound)


def with_seeds(seen: Seen, spread: SeedSpread, levels: Levels) -> Seen:
    """Return what the queries show of one column, with what another training seed could change.

    Args:
        seen: of the mean over the seeds.
        spread: of the same values; one seed changes nothing.
        levels: that `seen` was made at.
    """
    mean = float(seen.mean[0])
    half = spread.widen(mean - float(seen.low[0]), levels.interval)
    below = spread.widen(mean - float(seen.bound[0]), 2 * levels.bound - 1)
    return Seen(
        mean=seen.mean,
        se=np.array([spread.se]),
        low=np.array([mean - half]),
        high=np.array([mean + half]),
        bound=np.array([mean - below]),
    )


def answer(seen: Seen, spec: Sampled) -> Conclusions:
    """Return what a gate concludes from each column; the first that holds of pass and fail.

    `no_worse`, with the margin m, passes where the lower bound is above -m: by the bound with the
    phantom loss, so that a loss that is rare and total is not overlooked. It fails where the
    interval lies below 0 and the loss is more than m / 2; an interval below -m does so too. At
    equal quality that is a false alarm of 2.5 % at most.

    `better` passes where the interval lies above the gain and fails where it lies at or below it:
    a candidate that ranks exactly as the baseline does is not better. `at_least` passes where the
    interval of the mean lies at or above the value and fails where it lies below.

    >>> from harness.suite.spec import NoWorse
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
