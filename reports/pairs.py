"""Pairs: every candidate against every other one, a light look that no decision rests on.

The comparisons of a run are permutation tests against the baseline and along the tree. Of all pairs
there are many more; here each has a paired t-test, adjusted by Holm over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from harness.arrays import Values
from harness.statistics import TIE
from harness.statistics.families import holm


@dataclass(frozen=True)
class EveryPair:
    """All pairs of candidates over the same queries; the matrices are [n_names, n_names].

    Attributes:
        n: queries.
        difference: mean of the row's candidate minus that of the column's.
        p: adjusted over all pairs; 1 on the diagonal.
        better: share of queries on which the row's candidate is better; a tie is none.
    """

    names: tuple[str, ...]
    n: int
    difference: Values = field(repr=False)
    p: Values = field(repr=False)
    better: Values = field(repr=False)


def all_pairs(values: Mapping[str, Values]) -> EveryPair:
    """Compare every two candidates; the one with the highest mean comes first.

    A pair whose difference is the same in every query has p = 1 if it is 0, else 0.

    >>> a, b = np.array([0.0, 0.5, 0.4, 0.1]), np.array([0.5, 0.9, 0.8, 0.7])
    >>> found = all_pairs({"a": a, "b": b})
    >>> found.names, round(float(found.difference[0, 1]), 3), round(float(found.p[0, 1]), 3)
    (('b', 'a'), 0.475, 0.002)

    Args:
        values: per-query values of each candidate, float64 [n_queries], at least two queries.
    """
    names = tuple(sorted(values, key=lambda name: -values[name].mean()))
    size, n = len(names), len(next(iter(values.values()), ()))
    difference, better = np.zeros((size, size)), np.zeros((size, size))
    places = list(combinations(range(size), 2))
    alone = np.ones(len(places))
    for pair, (row, column) in enumerate(places):
        differences = values[names[row]] - values[names[column]]
        difference[row, column] = differences.mean()
        difference[column, row] = -difference[row, column]
        better[row, column] = np.mean(differences >= TIE)
        better[column, row] = np.mean(differences <= -TIE)
        alone[pair] = _p(differences)
    p = np.ones((size, size))
    for (row, column), adjusted in zip(places, holm(alone), strict=True):
        p[row, column] = p[column, row] = adjusted
    return EveryPair(names, n, difference, p, better)


def _p(differences: Values) -> float:
    """Return the two-sided p of a paired t-test."""
    from scipy.special import stdtr

    n = len(differences)
    if n < 2 or not differences.any():
        return 1.0
    spread = differences.std(ddof=1)
    if spread == 0:
        return 0.0
    return float(2 * stdtr(n - 1, -abs(differences.mean()) / (spread / np.sqrt(n))))
