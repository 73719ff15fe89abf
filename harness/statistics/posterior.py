"""Posterior: draws of mean differences on one collection, and over several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Values
from harness.statistics.distributions import t_quantile
from harness.statistics.families import critical_value
from harness.statistics.power import CONFIDENCE
from harness.statistics.units import (
    EXACT_BITS,
    Estimate,
    Units,
    deviations,
    estimate,
    finite,
    macro_estimate,
    on_grid,
    units,
)
from harness.statistics.unseen import WORST, cautious

DRAWS = 10_000
_BLOCK_BYTES = 32_000_000  # weights held at a time
_WEIGHT_BITS = 16  # weights are multiples of 2^-16
_LARGEST_WEIGHT_BITS = 6  # the generator's exponential draws stay below 2^6


def posterior_means(
    values: Values, *, seed: int, draws: int = DRAWS, clusters: Clusters | None = None
) -> Values:
    """Draw the means of all columns from their joint posterior by the Bayesian bootstrap.

    Rubin (1981): queries, or clusters, are weighted by Dirichlet(1, ..., 1). All columns see the
    same weights, so the draws keep how the columns depend on each other: the difference of two
    columns' draws is a draw of their difference. The variance is (n - 1) / (n + 1) of the squared
    standard error. What no query shows has no weight: a loss that is rarer than 1 / n does not
    appear, for which there are `posterior_differences` and `inferiority`.

    Bit-identical whatever the block size and the number of threads.

    Args:
        values: float64 [n_queries, n_columns], finite: scores or differences.
        seed: 0 <= seed < 2**128, the key of the weights.
        draws: rows.
        clusters: int [n_queries], queries that belong together; None where all are independent.

    Returns:
        float64 [draws, n_columns].
    """
    sample = units(values, clusters)
    mean = estimate(sample).mean
    # Deviations leave a column without variance exactly at its mean.
    integers, exponents = on_grid(
        deviations(sample, mean),
        np.ones(len(sample.sizes)),
        bits=EXACT_BITS - _WEIGHT_BITS - _LARGEST_WEIGHT_BITS,
    )
    columns = np.hstack([integers, sample.sizes[:, None]])
    drawn = []
    for weights in _weights(sample, seed=seed, draws=draws):
        sums = weights @ columns
        drawn.append(mean + np.ldexp(sums[:, :-1], -exponents) / sums[:, -1:])
    return np.concatenate(drawn)


def posterior_differences(
    differences: Values, *, seed: int, draws: int = DRAWS, clusters: Clusters | None = None
) -> Values:
    """Draw the mean differences of all columns from their joint posterior, as `posterior_means`.

    Where rare large losses or gains may be unseen (`unseen`), the draws hold one more query that
    loses or gains everything, with a random weight like every other. The other columns are those of
    `posterior_means`, bit for bit.

    Args:
        differences: float64 [n_queries, n_columns], of a metric between 0 and 1.
        seed: as of `posterior_means`.
        draws: rows.
        clusters: int [n_queries], queries that belong together; None where all are independent.

    Returns:
        float64 [draws, n_columns].
    """
    drawn = posterior_means(differences, seed=seed, draws=draws, clusters=clusters)
    sample = units(differences, clusters)
    careful = cautious(sample)
    generator = np.random.Generator(np.random.Philox(key=seed).jumped())
    phantoms = generator.standard_exponential((draws, 2))
    seen = generator.standard_gamma(len(sample.sizes), size=(draws, 1))
    for sign, weight, flags in (
        (-1, phantoms[:, :1], careful.losses),
        (1, phantoms[:, 1:], careful.gains),
    ):
        share = weight / (weight + seen)
        drawn = np.where(flags, drawn + share * (sign * WORST - drawn), drawn)
        seen = np.where(flags, seen + weight, seen)
    return drawn


def posterior_interval(draws: Values) -> tuple[Values, Values]:
    """Return the equal-tailed 95% interval of each column of draws, low and high [n_columns]."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def _weights(sample: Units, *, seed: int, draws: int) -> Iterator[Values]:
    """Yield rows of exponential weights, Dirichlet once divided by their sum, as integers."""
    generator = np.random.Generator(np.random.Philox(key=seed))
    count = len(sample.sizes)
    rows = max(1, _BLOCK_BYTES // (8 * count))
    for start in range(0, draws, rows):
        weights = generator.standard_exponential((min(rows, draws - start), count))
        weights *= 2**_WEIGHT_BITS
        # Never 0: the only query of a collection would leave nothing to divide by.
        yield np.maximum(np.rint(weights, out=weights), 1, out=weights)


class MacroDifference(NamedTuple):
    """The mean over collections, each of which counts the same, of the means over their queries.

    Attributes:
        difference: float64 [n_pairs].
        draws: float64 [draws, n_pairs], its joint posterior.
    """

    difference: Values
    draws: Values


def macro_difference(
    differences: Sequence[Values],
    *,
    seeds: Sequence[int],
    clusters: Sequence[Clusters | None] | None = None,
    draws: int = DRAWS,
) -> MacroDifference:
    """Return the macro mean difference and draws of it by the stratified Bayesian bootstrap.

    Queries are drawn anew within each collection. The collections themselves are not: the draws are
    about these collections, not about ones like them.

    Args:
        differences: of each collection, float64 [n_queries, n_pairs], the same pairs in all.
        seeds: of each collection, all different.
        clusters: of each collection, int [n_queries] or None.
        draws: of the bootstrap.

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
    means = [finite(values).mean(axis=0) for values in differences]
    return MacroDifference(np.mean(means, axis=0), drawn)


class MacroLimits(NamedTuple):
    """Simultaneous 95% bounds, float64 [n_columns], and the multiple of the standard error."""

    low: Values
    high: Values
    critical: float


def macro_limits(samples: Sequence[Units], over: Estimate, draws: Values) -> MacroLimits:
    """Return simultaneous bounds of means over several collections, by bootstrap.

    The critical value is never below that of a single t-interval. As by sign flips of one
    collection (`max_t`), the bounds allow for rare large losses and gains not yet seen.

    Args:
        samples: differences of each collection.
        over: the mean over the collections.
        draws: of that mean, as `macro_difference` draws them.
    """
    spread = draws.std(axis=0)
    scaled = np.divide(
        draws - draws.mean(axis=0), spread, out=np.zeros_like(draws), where=spread > 0
    )
    critical = max(
        critical_value(np.abs(scaled).max(axis=1), CONFIDENCE),
        t_quantile((1 + CONFIDENCE) / 2, over.dof),
    )
    careful = [cautious(sample) for sample in samples]
    lost, lost_se, _ = macro_estimate([part.with_loss for part in careful])
    gained, gained_se, _ = macro_estimate([part.with_gain for part in careful])
    return MacroLimits(
        np.minimum(over.mean - critical * over.se, lost - critical * lost_se),
        np.maximum(over.mean + critical * over.se, gained + critical * gained_se),
        critical,
    )
