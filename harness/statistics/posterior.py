"""Posterior: how probable a gain of a given size is, and which candidate is the best."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.arrays import Clusters, Flags, Values
from harness.statistics.sums import EXACT_BITS, on_grid
from harness.statistics.units import Units, deviations, estimate, units
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


def probability_at_least(draws: Values, deltas: Values) -> Values:
    """Return the posterior probability that each mean is at least each delta.

    Args:
        draws: float64 [draws, n_columns], of `posterior_means`.
        deltas: float64 [n_deltas].

    Returns:
        float64 [n_deltas, n_columns].
    """
    return np.stack([(draws >= delta).mean(axis=0) for delta in np.asarray(deltas)])


def posterior_interval(draws: Values, *, confidence: float = 0.95) -> tuple[Values, Values]:
    """Return the equal-tailed interval of each column of draws, low and high [n_columns]."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return low, high


def probability_best(draws: Values) -> Values:
    """Return the probability that each column is the largest; equal columns share theirs.

    >>> probability_best(np.array([[0.5, 0.4, 0.5], [0.4, 0.6, 0.4]])).tolist()
    [0.25, 0.5, 0.25]

    Args:
        draws: float64 [draws, n_columns], joint draws of the candidates' scores.
    """
    best = draws == draws.max(axis=1, keepdims=True)
    share: Values = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
    return share


def probability_on_front(draws: Values, costs: Values) -> Values:
    """Return the probability that no other candidate is as good, as cheap and better in one.

    The dearer of two is dominated in all draws where the cheaper scores as high:

    >>> probability_on_front(np.array([[0.5, 0.6], [0.5, 0.4]]), np.array([[1.0], [2.0]])).tolist()
    [1.0, 0.5]

    Args:
        draws: float64 [draws, n_candidates], joint draws of the candidates' scores.
        costs: float64 [n_candidates, n_costs], such as milliseconds and bytes; less is better.

    Returns:
        float64 [n_candidates].
    """
    no_dearer: Flags = np.all(costs[:, None] <= costs[None], axis=2)
    cheaper: Flags = no_dearer & np.any(costs[:, None] < costs[None], axis=2)
    on_front = np.empty(draws.shape[1])
    for candidate, own in enumerate(draws.T):
        beaten = (draws > own[:, None]) & no_dearer[:, candidate]
        matched = (draws == own[:, None]) & cheaper[:, candidate]
        on_front[candidate] = 1 - (beaten | matched).any(axis=1).mean()
    return on_front


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
