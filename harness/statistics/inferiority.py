"""Inferiority: showing that a cheaper candidate loses nothing that matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Values
from harness.statistics.distributions import (
    largest_share,
    normal_quantile,
    t_probability,
    t_quantile,
)
from harness.statistics.pairs import severe_losses
from harness.statistics.power import ALPHA, CONFIDENCE, POWER, queries_for_effect
from harness.statistics.units import SAME, estimate, finite, units
from harness.statistics.unseen import FEWEST, WORST, shown_from, with_phantom

CAP = 0.02  # share of queries that may lose their answer


@dataclass(frozen=True)
class Bounds:
    """One-sided bounds of mean differences; all arrays are [n_pairs].

    Attributes:
        n: queries.
        difference: mean difference.
        low: with the stated confidence the true difference is not below it.
        high: with the same confidence it is not above it.
        confidence: of each bound by itself.
    """

    n: int
    difference: Values
    low: Values
    high: Values
    confidence: float = CONFIDENCE


class SevereLosses(NamedTuple):
    """How many queries lose their answer, and how many may in truth.

    Attributes:
        severe: queries that lose `risk.SEVERE` or more.
        n: queries.
        upper: exact one-sided upper bound of their share (Clopper-Pearson).
        within_cap: whether the bound is at most the cap.
    """

    severe: int
    n: int
    upper: float
    within_cap: bool


def difference_bounds(
    differences: Values,
    *,
    confidence: float = CONFIDENCE,
    clusters: Clusters | None = None,
    critical: float = 0.0,
) -> Bounds:
    """Return one-sided bounds of each mean difference, allowing for losses not yet seen.

    Where almost all queries tie, a t-bound rests on the few that do not: it passes in 36 of 100
    cases where 2% of the queries lose everything and 50 were asked. So the lower bound is the
    t-bound of the differences and one more query that loses everything (the phantom loss), and the
    upper one that of the differences and one that gains everything. Of clusters the phantom is one
    more cluster of average size.

    A heuristic, of the kind of adding one to a count, and validated by simulation: it misses in at
    most 6% of the cases where truncation or model swaps are simulated, and in about 7.1% for
    the worst rate of rare total losses (`tests/test_simulations.py`). Identical rankings pass a
    margin of 0.01 from 265 queries on: fewer cannot exclude such a loss.

    >>> found = difference_bounds(np.zeros((265, 1)))
    >>> round(float(found.low[0]), 5), bool(found.low[0] > -0.01)
    (-0.00996, True)

    Args:
        differences: float64 [n_queries, n_pairs], candidate minus reference, in [-1, 1].
        confidence: of each bound.
        clusters: int [n_queries], queries that belong together; None where all are independent.
        critical: multiple of the standard error where that of t is smaller, such as a family's
            (`FamilyTests.one_sided`): no claim of the family is false with that confidence.

    Raises:
        ValueError: no query, or a difference that is not between -1 and 1.
    """
    differences = finite(differences)
    if np.abs(differences).max(initial=0.0) > WORST + SAME:
        raise ValueError(
            "a difference is not between -1 and 1: the phantom loss would be too small"
        )
    sample = units(differences, clusters)
    found, ends = estimate(sample), []
    for sign in (-1, 1):
        mean, se, dof = estimate(with_phantom(sample, sign))
        ends.append(mean + sign * max(critical, t_quantile(confidence, dof)) * se)
    return Bounds(
        n=len(differences),
        difference=found.mean,
        low=ends[0],
        high=ends[1],
        confidence=max(confidence, t_probability(critical, found.dof)),
    )


def cap_losses(
    differences: Values,
    *,
    cap: float = CAP,
    confidence: float = CONFIDENCE,
    design_effect: float = 1.0,
) -> SevereLosses:
    """Test whether at most a share `cap` of the queries loses 0.5 or more.

    >>> cap_losses(np.zeros(149)).within_cap, cap_losses(np.zeros(148)).within_cap
    (True, False)

    Args:
        differences: float64 [n_queries] of one pair, finite.
        cap: largest share that is accepted.
        confidence: of the upper bound.
        design_effect: of clusters, not below 1; the bound counts n / design_effect queries.
    """
    differences = finite(differences)
    severe, n = int(severe_losses(differences)), len(differences)
    effect = max(1.0, design_effect)
    upper = largest_share(severe / effect, n / effect, confidence=confidence)
    return SevereLosses(severe, n, upper, upper <= cap)


def queries_for_non_inferiority(
    sd: float,
    margin: float,
    *,
    difference: float = 0.0,
    alpha: float = ALPHA,
    power: float = POWER,
    design_effect: float = 1.0,
) -> int:
    """Return how many queries pass the bound with the phantom loss with the given power.

    Even without any variance it takes about 2.65 / margin, twice that at half the margin.

    >>> queries_for_non_inferiority(0.0, 0.01), queries_for_non_inferiority(0.2, 0.01)
    (265, 2684)

    Args:
        sd: standard deviation of per-query differences.
        margin: loss that is accepted, positive.
        difference: true mean difference, above -margin.
        alpha: one-sided level of the bound.
        power: chance to show it.
        design_effect: of clusters, as `design_effect` measures it.

    Raises:
        ValueError: the true difference is at the margin or beyond it.
    """
    if difference <= -margin:
        raise ValueError(f"a true difference of {difference} is not above the margin -{margin}")

    def passes(n: int) -> bool:
        mean = difference - normal_quantile(power) * sd / np.sqrt(n)
        return _low(n, mean, sd, t_quantile(1 - alpha, n)) > -margin

    return int(np.ceil(_fewest(passes) * design_effect))


def queries_for_sign(
    sd: float,
    difference: float,
    *,
    beyond: float = 0.0,
    alpha: float = ALPHA,
    skewness: float = 0.0,
    design_effect: float = 1.0,
) -> int:
    """Return how many queries show the sign of a difference, rare losses not yet seen included.

    Those of `power.queries_for_effect`, and more where the spread is so small, or the differences
    so skewed, that the interval holds the phantom loss (`unseen`): a gain of 0.1 in every query
    takes 33, not two. Never fewer than six, whose sign flips can reach 0.05.

    >>> queries_for_sign(0.0, 0.1), queries_for_sign(0.25, 0.03), queries_for_sign(0.0, 1.0)
    (33, 548, 7)

    Args:
        sd: standard deviation of per-query differences.
        difference: true mean difference, not 0.
        beyond: a gain that the difference is shown to exceed, instead of 0; below the difference.
        alpha: two-sided level.
        skewness: of the per-query differences, negative where it is against their sign.
        design_effect: of clusters, as `design_effect` measures it.

    Raises:
        ValueError: the difference is 0, or `beyond`, which no number of queries finds.
    """
    least = max(FEWEST, queries_for_effect(sd, difference - beyond, alpha=alpha))
    shown = shown_from(sd, skewness)

    def passes(n: int) -> bool:
        mean = abs(difference) - normal_quantile(POWER) * sd / np.sqrt(n)
        low = _low(n, mean, sd, t_quantile(1 - alpha / 2, n - 1))
        return n >= least and (low > beyond or n >= shown)

    return int(np.ceil(_fewest(passes) * design_effect))


def _low(n: int, mean: float, sd: float, critical: float) -> float:
    """Return the lower bound of n queries and the phantom loss, for what is seen of the n."""
    shifted = (n * mean - WORST) / (n + 1)
    squares = (n - 1) * sd**2 + n / (n + 1) * (WORST + mean) ** 2
    return float(shifted - critical * np.sqrt(squares / (n * (n + 1))))


def _fewest(passes: Callable[[int], bool]) -> int:
    """Return the smallest number of queries, 2 or more, from which on all pass."""
    few, many = 1, 2
    while not passes(many):
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if passes(middle) else (middle, many)
    return many
