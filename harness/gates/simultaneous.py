"""Simultaneous: several slices judged at once, so that the whole has one error rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Indices, Values
from harness.gates.rules import Levels
from harness.statistics.families import critical_value
from harness.statistics.sign_flips import coin_tosses
from harness.statistics.sums import on_grid

PERMUTATIONS = 10_000


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
    permutations: int = PERMUTATIONS,
) -> list[Levels]:
    """Return the confidence that each slice needs so that all together have 95 %.

    Max-T as in `families.max_t`, for means over parts of the queries that may overlap: flips the
    deviations of each slice from its mean, with one toss for each query of the collection, and
    takes the 95 % quantile of the largest studentised mean (one-sided for the bound, of absolute
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
        t = _studentised(sums, squares, sizes)
        largest.append(t.max(axis=1))
        largest_absolute.append(np.abs(t).max(axis=1))
    one_sided, two_sided = (
        critical_value(np.concatenate(each), 0.95) for each in (largest, largest_absolute)
    )
    return _levels(one_sided, two_sided, sizes)


def _studentised(sums: Values, squares: Values, sizes: Values) -> Values:
    residual = sizes * squares - sums**2
    t: Values = np.zeros_like(sums)
    np.divide(np.sqrt(sizes - 1) * sums, np.sqrt(np.maximum(residual, 0)), t, where=residual > 0)
    return t


def _levels(one_sided: float, two_sided: float, sizes: Values) -> list[Levels]:
    """Return the confidence at which a t-quantile equals each critical value."""
    from scipy.special import stdtr

    return [
        Levels(
            bound=max(0.95, float(stdtr(size - 1, one_sided))),
            interval=max(0.95, 2 * float(stdtr(size - 1, two_sided)) - 1),
        )
        for size in sizes
    ]
