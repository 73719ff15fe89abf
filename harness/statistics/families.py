"""Families: several pairs judged at once, so that the whole has one error rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.arrays import Clusters, Counts, Flags, Values
from harness.statistics.distributions import normal_quantile, t_quantile
from harness.statistics.power import CONFIDENCE, POWER
from harness.statistics.sign_flips import permutation_p, sign_flips
from harness.statistics.units import SAME, finite, units
from harness.statistics.unseen import cautious


@dataclass(frozen=True)
class FamilyTests:
    """A family of paired differences over the same queries; all arrays are [n_pairs].

    Attributes:
        n: queries.
        difference: mean difference.
        low, high: simultaneous interval, difference -+ critical * se: with 95% confidence
            all true differences of the family lie in theirs. Widened where rare large losses or
            gains may be unseen, and of no width where all differences are 0.
        critical: the multiple of the standard error. Never below that of a single t-interval;
            infinite where there are too few units (five or fewer) to reach the confidence.
        one_sided: the multiple of one-sided simultaneous bounds, for `difference_bounds`; 0, which
            asks for no more than a single bound, where there is one pair.
        p: two-sided sign-flip p of each pair alone, the same as of `paired`.
        p_adjusted: single-step max-T; at most 0.05 in any true null with probability 0.05 where
            differences are symmetric, and in simulations at most 0.07 from 30 queries on where
            they are skewed (`tests/test_statistics_unseen.py`).
        p_holm: Holm's correction of `p`, a check that assumes nothing about dependence.
        mde: minimum detectable effect of a pair in this family: the true difference that its
            `p_adjusted` would find at 0.05 with a power of 0.80.
        unseen_losses, unseen_gains: as of `PairedTests`.
    """

    n: int
    difference: Values
    low: Values
    high: Values
    critical: float
    one_sided: float
    p: Values
    p_adjusted: Values
    p_holm: Values
    mde: Values
    unseen_losses: Flags
    unseen_gains: Flags


def max_t(
    differences: Values,
    *,
    seed: int,
    permutations: int = 10_000,
    clusters: Clusters | None = None,
) -> FamilyTests:
    """Test a family of pairs by the largest studentised difference under sign flips.

    Westfall & Young's single-step max-T: all pairs see the same flips, which keeps how they depend
    on each other. The intervals flip the differences around their observed means (the multiplier
    bootstrap of Chernozhukov, Chetverikov & Kato 2013); the p do not, which keeps them exact where
    the differences are symmetric under the null hypothesis. So in a borderline case an interval
    may leave out 0 while its p is a little above 0.05, or the reverse.

    A pair of identical systems has p = 1 and the interval [0, 0], and does not affect the others.
    Where rare large losses or gains may be unseen (`unseen`), as where a difference is the same in
    every query, intervals are widened and p raised, so that p is at most 0.05 where the interval
    leaves out 0; this does not affect the other pairs either.

    Two pairs of which one is nothing but ties:

    >>> family = max_t(np.array([[0.1, 0], [0.2, 0], [0.3, 0], [0.1, 0]]), seed=1)
    >>> family.p_adjusted.round(2).tolist(), family.high.tolist()[1]
    ([0.12, 1.0], 0.0)

    Args:
        differences: float64 [n_queries, n_pairs], finite: candidates minus one reference, all
            pairs, or any other family.
        seed: 0 <= seed < 2**128, the key of the sign flips.
        permutations: B, sign flips drawn.
        clusters: int [n_queries], queries that belong together; None where all are independent.

    Raises:
        ValueError: no query, no pair, or a difference that is NaN or infinite.
    """
    differences = finite(differences)
    if differences.shape[1] == 0:
        raise ValueError("no pair to test")
    sample = units(differences, clusters)
    careful = cautious(sample)
    found = careful.found
    flips = sign_flips(sample)
    reached = flips.observed() - SAME
    alone = np.zeros(differences.shape[1], dtype=np.int64)
    maxima, centred_maxima = [], []
    for flipped in flips.flips(seed=seed, permutations=permutations):
        shares = flips.shares(flipped)
        alone += np.count_nonzero(shares >= reached, axis=0)
        maxima.append(shares.max(axis=1))
        centred_maxima.append(flips.centred_shares(flipped).max(axis=1))
    centred = np.sort(np.concatenate(centred_maxima))

    def critical_t(confidence: float) -> float:
        return float(flips.t(np.array(min(1.0, critical_value(centred, confidence)))))

    def reaching(ordered: Values, shares: Values) -> Counts:
        return np.asarray(len(ordered) - np.searchsorted(ordered, shares))

    critical = max(critical_t(CONFIDENCE), t_quantile((1 + CONFIDENCE) / 2, found.dof))
    p = np.maximum(permutation_p(alone, permutations), careful.least_p)
    extreme = reaching(np.sort(np.concatenate(maxima)), reached)
    raised = careful.raised
    careful_share = flips.share_of(careful.t[raised]) - SAME
    extreme[raised] = np.maximum(extreme[raised], reaching(centred, careful_share))
    p_adjusted = np.maximum(permutation_p(extreme, permutations), p)
    shown = np.zeros_like(found.se)
    np.multiply(found.se, critical + normal_quantile(POWER), out=shown, where=found.se > 0)
    return FamilyTests(
        n=len(differences),
        difference=found.mean,
        low=careful.low(critical),
        high=careful.high(critical),
        critical=critical,
        # Of two-sided intervals of 90%, each end is a bound of 95%.
        one_sided=critical_t(2 * CONFIDENCE - 1) if differences.shape[1] > 1 else 0,
        p=p,
        p_adjusted=p_adjusted,
        p_holm=holm(p),
        mde=shown + careful.added(critical),
        unseen_losses=careful.losses,
        unseen_gains=careful.gains,
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


def critical_value(maxima: Values, confidence: float) -> float:
    """Return what the largest of a family's statistics stays below with a confidence.

    The observed one is one more draw: infinite where there are too few to reach the confidence.

    >>> critical_value(np.arange(1.0, 20.0), 0.95), critical_value(np.arange(1.0, 10.0), 0.95)
    (19.0, inf)

    Args:
        maxima: float64 [draws], of flips or draws under which nothing differs.
        confidence: of all together.
    """
    rank = int(np.ceil(confidence * (len(maxima) + 1) - SAME))
    return float(np.sort(maxima)[rank - 1]) if rank <= len(maxima) else np.inf


def one_sided(p: Values, difference: Values) -> Values:
    """Return the p against a gain of at most 0, from the two-sided p of a symmetric test."""
    return np.where(difference > 0, p / 2, 1 - p / 2)


def real_gains(p: Values) -> Flags:
    """Return which collections have a real gain, bool [n_collections, n_pairs].

    With 95% confidence the true number of collections with a gain is at least as many. Dror et
    al. (2017): k-hat is the largest u for which the partial conjunction hypothesis "fewer
    than u collections have a gain" is rejected, by Bonferroni (n - u + 1) p_(u) made monotone in u.
    That is the number of Holm rejections, so the named ones are as many. Valid whatever the
    dependence between collections.

    Of four collections two have a p that survives 4 and 3 times itself:

    >>> gains = real_gains(np.array([[0.2], [0.001], [0.01], [0.04]]))
    >>> gains[:, 0].tolist()
    [False, True, True, False]

    Args:
        p: float64 [n_collections, n_pairs], one-sided p of a gain in each collection.
    """
    return np.asarray(holm(p) <= 1 - CONFIDENCE)
