"""Macro: several collections, their mean difference and in how many of them there is a gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.arrays import Clusters, Counts, Flags, Values
from harness.statistics.families import holm
from harness.statistics.posterior import DRAWS, posterior_differences, posterior_interval
from harness.statistics.sums import finite


@dataclass(frozen=True)
class MacroDifference:
    """The mean over collections of the mean differences over their queries; arrays [n_pairs].

    Attributes:
        collections: how many; each counts the same, whatever its number of queries.
        n: queries of all collections together.
        difference: macro mean difference.
        low, high: its interval by the stratified bootstrap.
        draws: float64 [draws, n_pairs], for `probability_at_least`.
    """

    collections: int
    n: int
    difference: Values
    low: Values
    high: Values
    draws: Values


@dataclass(frozen=True)
class Gains:
    """Where the gain is real, of several pairs over the same collections.

    Attributes:
        count: int64 [n_pairs], k-hat: with the stated confidence the true number of collections
            with a gain is at least this.
        collections: bool [n_collections, n_pairs], which they are.
    """

    count: Counts
    collections: Flags


def macro_difference(
    differences: Sequence[Values],
    *,
    seeds: Sequence[int],
    clusters: Sequence[Clusters | None] | None = None,
    draws: int = DRAWS,
    confidence: float = 0.95,
) -> MacroDifference:
    """Return the macro mean difference with a stratified bootstrap interval.

    Queries are drawn anew within each collection (Bayesian bootstrap, percentiles). The collections
    themselves are not: the interval is about these collections, not about ones like them.

    Args:
        differences: of each collection, float64 [n_queries, n_pairs], the same pairs in all.
        seeds: of each collection, all different.
        clusters: of each collection, int [n_queries] or None.
        draws: of the bootstrap.
        confidence: of the interval.

    Raises:
        ValueError: no collection, one without queries, or two with the same seed.
    """
    if not differences:
        raise ValueError("no collection to compute statistics of")
    if len(set(seeds)) < len(differences):
        raise ValueError("collections need seeds of their own: equal ones would move together")
    clusters = clusters or [None] * len(differences)
    drawn = np.zeros((draws, differences[0].shape[1]))
    for values, seed, cluster in zip(differences, seeds, clusters, strict=True):
        drawn += posterior_differences(values, seed=seed, draws=draws, clusters=cluster)
    drawn /= len(differences)
    low, high = posterior_interval(drawn, confidence=confidence)
    return MacroDifference(
        collections=len(differences),
        n=sum(map(len, differences)),
        difference=np.mean([finite(values).mean(axis=0) for values in differences], axis=0),
        low=low,
        high=high,
        draws=drawn,
    )


def one_sided(p: Values, difference: Values) -> Values:
    """Return the p against a gain of at most 0, from the two-sided p of a symmetric test."""
    return np.where(difference > 0, p / 2, 1 - p / 2)


def real_gains(p: Values, *, confidence: float = 0.95) -> Gains:
    """Count the collections with a real gain, and name them.

    Dror et al. (2017): k-hat is the largest u for which the partial conjunction hypothesis "fewer
    than u collections have a gain" is rejected, by Bonferroni (n - u + 1) p_(u) made monotone in u.
    That is the number of Holm rejections, so the named ones are as many. Valid whatever the
    dependence between collections.

    Of four collections two have a p that survives 4 and 3 times itself:

    >>> gains = real_gains(np.array([[0.2], [0.001], [0.01], [0.04]]))
    >>> int(gains.count[0]), gains.collections[:, 0].tolist()
    (2, [False, True, True, False])

    Args:
        p: float64 [n_collections, n_pairs], one-sided p of a gain in each collection.
        confidence: of the count, for each pair.
    """
    found = holm(p) <= 1 - confidence
    return Gains(np.count_nonzero(found, axis=0), found)
