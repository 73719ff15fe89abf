"""Pairs: the mean of one system and the paired differences of two, with interval and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Counts, Flags, Values
from harness.statistics.distributions import t_quantile
from harness.statistics.power import CONFIDENCE, minimum_detectable
from harness.statistics.sign_flips import permutation_p, sign_flips
from harness.statistics.units import SAME, Estimate, estimate, finite, units
from harness.statistics.unseen import cautious

TIE = 0.001  # a query whose difference is smaller counts as a tie
LARGEST_EFFECT = 100.0


class Interval(NamedTuple):
    """A mean and its confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTests:
    """Paired differences of several pairs over the same queries; all arrays are [n_pairs].

    Attributes:
        n: queries.
        difference: mean difference.
        low, high: t-interval of the mean difference, widened where rare large losses or gains may
            be unseen; infinite where there is one unit only.
        p: two-sided sign-flip permutation p, (b + 1) / (B + 1), never 0. Where the interval is
            widened towards 0, at least the p that belongs to it.
        sd: standard deviation of the differences (n - 1 in the denominator); 0 where n is 1.
        se: standard error of the mean difference, over queries or clusters; infinite where there
            is one only.
        effect_size: d_z, difference / sd, cut at -+`LARGEST_EFFECT`: where every query has the
            same difference it would be infinite. 0 where the difference is 0.
        wins, ties, losses: queries with a difference of at least `TIE`, smaller, at most -`TIE`.
        mde: minimum detectable effect, the true difference that a two-sided test at 0.05 with as
            many queries would find with a power of 0.80; infinite where se is.
        unseen_losses, unseen_gains: whether rare large ones may be unseen: the interval is widened
            on that side and p raised (`unseen`).
    """

    n: int
    difference: Values
    low: Values
    high: Values
    p: Values
    sd: Values
    se: Values
    effect_size: Values
    wins: Counts
    ties: Counts
    losses: Counts
    mde: Values
    unseen_losses: Flags
    unseen_gains: Flags


def mean_interval(
    values: Values, *, confidence: float = CONFIDENCE, clusters: Clusters | None = None
) -> Interval:
    """Return the mean of per-query values and its t-interval.

    t rather than bootstrap: at small n its coverage is better, or about as good where values
    are very skewed.
    Without any variance the interval is the mean itself; one value alone says nothing about the
    variance, so its interval is infinite.

    Args:
        values: float64 [n], n at least 1, finite.
        confidence: between 0 and 1.
        clusters: int [n], queries that belong together; None where all are independent.

    Raises:
        ValueError: no value, or one that is NaN or infinite.

    >>> low, high = mean_interval(np.array([0.2, 0.4, 0.6]))[1:]
    >>> round(low, 4), round(high, 4)  # 0.4 -+ 4.3027 * 0.2 / sqrt(3)
    (-0.0968, 0.8968)
    """
    found = estimate(units(np.asarray(values, dtype=np.float64)[:, None], clusters))
    half = half_width(found, confidence)
    return Interval(
        float(found.mean[0]), float((found.mean - half)[0]), float((found.mean + half)[0])
    )


def paired(
    differences: Values,
    *,
    seed: int,
    permutations: int = 10_000,
    clusters: Clusters | None = None,
) -> PairedTests:
    """Test the mean difference of every pair over the same queries.

    Under the null hypothesis the sign of each query's difference is a coin toss; with clusters, one
    toss for each cluster. All pairs see the same tosses, so that the p of one pair does not depend
    on which others are tested with it. The order of flips is that of |t|.

    Three queries that all gain: of the 8 sign patterns 2 reach as far, so p is about 0.25.

    >>> tests = paired(np.array([[0.1], [0.1], [0.4]]), seed=13)
    >>> round(float(tests.difference[0]), 3), round(float(tests.p[0]), 2)
    (0.2, 0.25)

    Args:
        differences: float64 [n_queries, n_pairs], candidate minus reference, finite.
        seed: 0 <= seed < 2**128, the key of the sign flips.
        permutations: B, sign flips drawn.
        clusters: int [n_queries], queries that belong together; None where all are independent.

    Raises:
        ValueError: no query, or a difference that is NaN or infinite.
    """
    differences = finite(differences)
    sample = units(differences, clusters)
    careful = cautious(sample)
    found = careful.found
    critical = t_quantile((1 + CONFIDENCE) / 2, found.dof)
    low, high = careful.low(critical), careful.high(critical)
    sd = standard_deviation(differences)
    flips = sign_flips(sample)
    reached = flips.observed() - SAME
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    for flipped in flips.flips(seed=seed, permutations=permutations):
        extreme += np.count_nonzero(flips.shares(flipped) >= reached, axis=0)
    return PairedTests(
        n=len(differences),
        difference=found.mean,
        low=low,
        high=high,
        p=np.maximum(permutation_p(extreme, permutations), careful.least_p),
        sd=sd,
        se=found.se,
        effect_size=_ratio(found.mean, sd, LARGEST_EFFECT),
        wins=np.count_nonzero(differences >= TIE, axis=0),
        ties=np.count_nonzero(np.abs(differences) < TIE, axis=0),
        losses=np.count_nonzero(differences <= -TIE, axis=0),
        mde=minimum_detectable(found.se) + careful.added(critical),
        unseen_losses=careful.losses,
        unseen_gains=careful.gains,
    )


def half_width(found: Estimate, confidence: float) -> Values:
    """Return half the width of the two-sided t-interval of each mean."""
    half: Values = t_quantile((1 + confidence) / 2, found.dof) * found.se
    return half


def standard_deviation(differences: Values) -> Values:
    """Return the standard deviation of each column over queries; 0 where there is one query."""
    if len(differences) == 1:
        return np.zeros(differences.shape[1])
    sd: Values = estimate(units(differences)).se * np.sqrt(len(differences))
    return sd


SEVERE = 0.5  # a query that loses as much has lost its answer
LARGEST_RISK = 100.0


@dataclass(frozen=True)
class TailRisk:
    """Risk of several pairs over the same queries; all arrays are [n_pairs].

    Attributes:
        u_risk: mean of the differences with losses counted 1 + alpha times (URisk, Wang, Bennett &
            Collins-Thompson 2012); negative where losses outweigh gains.
        t_risk: u_risk / its standard error (TRisk, Dincer, Macdonald & Ounis 2014): below -2 the
            risk, above 2 the reward is significant. Cut at -+`LARGEST_RISK`; 0 where u_risk is 0.
        severe: share of queries that lose `SEVERE` or more.
        worst_decile: mean difference of the tenth of the queries that lose most, rounded up.
    """

    u_risk: Values
    t_risk: Values
    severe: Values
    worst_decile: Values


def tail_risk(
    differences: Values, *, alpha: float = 1.0, clusters: Clusters | None = None
) -> TailRisk:
    """Return the risk of switching from the reference to the candidate, for every pair.

    One gain of 0.4 and one loss of 0.3 that counts double:

    >>> risk = tail_risk(np.array([[0.4], [-0.3]]))
    >>> round(float(risk.u_risk[0]), 3), float(risk.worst_decile[0])
    (-0.1, -0.3)

    Args:
        differences: float64 [n_queries, n_pairs], candidate minus reference, finite.
        alpha: additional weight of a loss.
        clusters: int [n_queries], queries that belong together, for the standard error.

    Raises:
        ValueError: no query, or a difference that is NaN or infinite.
    """
    differences = finite(differences)
    weighted = np.where(differences < 0, (1 + alpha) * differences, differences)
    u_risk, se, _ = estimate(units(weighted, clusters))
    worst = -(-len(differences) // 10)
    decile = np.sort(np.partition(differences, worst - 1, axis=0)[:worst], axis=0)
    return TailRisk(
        u_risk=u_risk,
        t_risk=_ratio(u_risk, se, LARGEST_RISK),
        severe=severe_losses(differences) / len(differences),
        worst_decile=decile.mean(axis=0),
    )


def severe_losses(differences: Values) -> Counts:
    """Count the queries that lose `SEVERE` or more, in each column."""
    return np.asarray(np.count_nonzero(differences <= -SEVERE + SAME, axis=0))


def _ratio(mean: Values, spread: Values, largest: float) -> Values:
    """Return mean / spread, cut at -+`largest`; 0 where the mean is 0."""
    unlimited = np.divide(mean, spread, out=np.copysign(np.inf, mean), where=spread > 0)
    return np.where(mean == 0, 0.0, np.clip(unlimited, -largest, largest))
