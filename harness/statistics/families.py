"""Families: several pairs judged at once, so that the whole has one error rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.statistics.arrays import SAME, Clusters, Values, finite
from harness.statistics.distributions import t_quantile
from harness.statistics.sign_flips import permutation_p, sign_flips
from harness.statistics.units import estimate, units


@dataclass(frozen=True)
class FamilyTests:
    """A family of paired differences over the same queries; all arrays are [n_pairs].

    Attributes:
        n: queries.
        difference: mean difference.
        low, high: simultaneous interval, difference -+ critical * se: with the stated confidence
            all true differences of the family lie in theirs. Zero width where all units agree.
        critical: the multiple of the standard error. Never below that of a single t-interval;
            infinite where there are too few units (five or fewer) to reach the confidence.
        p: two-sided sign-flip p of each pair alone, the same as of `paired`.
        p_adjusted: single-step max-T; at most 0.05 in any true null with probability 0.05.
        p_holm: Holm's correction of `p`, a check that assumes nothing about dependence.
    """

    n: int
    difference: Values
    low: Values
    high: Values
    critical: float
    p: Values
    p_adjusted: Values
    p_holm: Values


def max_t(
    differences: Values,
    *,
    seed: int,
    permutations: int = 10_000,
    confidence: float = 0.95,
    clusters: Clusters | None = None,
) -> FamilyTests:
    """Test a family of pairs by the largest studentised difference under sign flips.

    Westfall & Young's single-step max-T: all pairs see the same flips, which keeps how they depend
    on each other. The intervals flip the differences around their observed means (the multiplier
    bootstrap of Chernozhukov, Chetverikov & Kato 2013); the p do not, which keeps them exact where
    the differences are symmetric under the null hypothesis. So in a borderline case an interval
    may leave out 0 while its p is a little above 0.05, or the reverse.

    A pair of identical systems has p = 1 and the interval [0, 0], and does not affect the others.
    One whose difference is the same in every query has a zero-width interval and the p that so
    many equal signs have; it does not affect the others' intervals either.

    Two pairs of which one is nothing but ties:

    >>> family = max_t(np.array([[0.1, 0], [0.2, 0], [0.3, 0], [0.1, 0]]), seed=1)
    >>> family.p_adjusted.round(2).tolist(), family.high.tolist()[1]
    ([0.12, 1.0], 0.0)

    Args:
        differences: float64 [n_queries, n_pairs], finite: candidates minus one reference, all
            pairs, or any other family.
        seed: 0 <= seed < 2**128, the key of the sign flips.
        permutations: B, sign flips drawn.
        confidence: of all intervals together.
        clusters: int [n_queries], queries that belong together; None where all are independent.

    Raises:
        ValueError: no query, no pair, or a difference that is NaN or infinite.
    """
    differences = finite(differences)
    if differences.shape[1] == 0:
        raise ValueError("no pair to test")
    sample = units(differences, clusters)
    found = estimate(sample)
    flips = sign_flips(sample)
    reached = flips.observed() - SAME
    alone = np.zeros(differences.shape[1], dtype=np.int64)
    maxima, centred_maxima = [], []
    for flipped in flips.flips(seed=seed, permutations=permutations):
        shares = flips.shares(flipped)
        alone += np.count_nonzero(shares >= reached, axis=0)
        maxima.append(shares.max(axis=1))
        centred_maxima.append(flips.centred_shares(flipped).max(axis=1))
    extreme = permutations - np.searchsorted(np.sort(np.concatenate(maxima)), reached)
    critical = max(
        float(flips.t(np.array(_upper(np.concatenate(centred_maxima), confidence)))),
        t_quantile((1 + confidence) / 2, found.dof),
    )
    half = np.zeros_like(found.se)
    np.multiply(found.se, critical, out=half, where=found.se > 0)
    p = permutation_p(alone, permutations)
    return FamilyTests(
        n=len(differences),
        difference=found.mean,
        low=found.mean - half,
        high=found.mean + half,
        critical=critical,
        p=p,
        p_adjusted=permutation_p(extreme, permutations),
        p_holm=holm(p),
    )


def holm(p: Values) -> Values:
    """Return Holm's (1979) step-down adjustment of each p, whatever their dependence.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]

    Args:
        p: float64 [n_tests], or [n_tests, n_columns] to adjust each column.
    """
    order = np.argsort(p, axis=0, kind="stable")
    left = np.arange(len(p), 0, -1).reshape(-1, *[1] * (p.ndim - 1))
    ordered = np.maximum.accumulate(np.take_along_axis(p, order, axis=0) * left, axis=0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(ordered, 1), axis=0)
    return adjusted


def _upper(shares: Values, confidence: float) -> float:
    """Return the quantile with the +1 rule: the observed signs are one more flip, and the last."""
    rank = int(np.ceil(confidence * (len(shares) + 1) - SAME))
    return 1.0 if rank > len(shares) else float(np.sort(shares)[rank - 1])
