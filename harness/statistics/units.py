"""Units: what is drawn at random, a query or a cluster of correlated queries; means over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Counts, Values

# Sums of the same numbers in another order differ by about 1e-16 of the sum of their sizes.
SAME = 1e-10
EXACT_BITS = 52  # integers up to 2^53 are exact in float64


def finite(values: Values) -> Values:
    """Return per-query values as float64, at least one of them and all finite.

    Raises:
        ValueError: no query, or a value that is NaN or infinite.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("no query to compute statistics of")
    if not np.isfinite(values).all():
        raise ValueError("a per-query value is NaN or infinite")
    return values


def column_sums(columns: Values) -> Values:
    """Return the sum of each column; the other columns do not change the order of summation."""
    sums: Values = np.ascontiguousarray(columns.T).sum(axis=1)
    return sums


def on_grid(columns: Values, sizes: Values, *, bits: int = EXACT_BITS) -> tuple[Values, Counts]:
    """Round each column to whole multiples of a power of two, as integers held in float64.

    Products of matrices are summed in an order that depends on the BLAS library and its threads.
    Sums of integers below 2^53 are exact in any order, so they are bit-identical everywhere. The
    rounding is below n / 2^`bits` of a column's sum, far less than a query's value is known to.

    Args:
        columns: float64 [n_units, n_columns].
        sizes: float64 [n_units], at least 1; what the column may be multiplied by later.
        bits: the sum of sizes * |integers| stays below 2^(bits + 1).

    Returns:
        The integers, and the exponent of each column: column = integers * 2^-exponent.
    """
    total = column_sums(np.abs(columns) * sizes[:, None])
    exponents = bits - np.frexp(total)[1].astype(np.int64)
    return np.rint(np.ldexp(columns, exponents)), exponents


_CORRELATION = 0.05  # of two queries of a cluster, for the degrees of freedom alone


class Units(NamedTuple):
    """Columns of per-query values, summed within each unit.

    Attributes:
        sums: float64 [n_units, n_columns].
        sizes: float64 [n_units], queries in each unit.
    """

    sums: Values
    sizes: Values


class Estimate(NamedTuple):
    """Means over queries with the standard errors that their units allow.

    Attributes:
        mean: float64 [n_columns].
        se: float64 [n_columns]; 0 where all units agree, infinite where there is one unit only.
        dof: degrees of freedom of the t distribution of (mean - truth) / se.
    """

    mean: Values
    se: Values
    dof: float


def units(values: Values, clusters: Clusters | None = None) -> Units:
    """Return the units of per-query values: each query by itself, or the clusters.

    Clusters keep the order of their first query. Where each holds one query, all that follows is
    bit for bit what it is without clusters.

    Args:
        values: float64 [n_queries, n_columns], finite.
        clusters: int [n_queries], queries of one number belong together (same source document,
            generated from the same passage, paraphrases); None where all are independent.

    Raises:
        ValueError: no query, a value that is not finite, or not one cluster number per query.
    """
    values = finite(values)
    if clusters is None:
        return Units(values, np.ones(len(values)))
    if np.shape(clusters) != (len(values),):
        raise ValueError(f"{len(values)} queries, but clusters of shape {np.shape(clusters)}")
    _, first, member = np.unique(clusters, return_index=True, return_inverse=True)
    member = np.argsort(np.argsort(first))[member]
    order = np.argsort(member, kind="stable")
    sizes = np.bincount(member)
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(values[order], starts, axis=0)
    scale = np.add.reduceat(np.abs(values[order]), starts, axis=0)
    sums[np.abs(sums) <= SAME * scale] = 0  # gains and losses that cancel within a cluster
    return Units(sums, sizes.astype(np.float64))


def estimate(sample: Units) -> Estimate:
    """Return mean, standard error and degrees of freedom of every column.

    The standard error is sqrt(G / (G - 1) sum_c (sum_{i in c} (d_i - mean))^2) / n over G units,
    which is s / sqrt(n) for single queries. Of clusters of unequal size fewer count: the degrees of
    freedom are those of Bell & McCaffrey (2002), G - 1 for equal sizes.
    """
    sums, sizes = sample
    n, count = sizes.sum(), len(sizes)
    mean = column_sums(sums) / n
    if count == 1:
        return Estimate(mean, np.full_like(mean, np.inf), 1.0)
    residuals = deviations(sample, mean)
    se = np.sqrt(count / (count - 1) * column_sums(residuals**2)) / n
    return Estimate(mean, se, _dof(sizes))


def macro_estimate(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean of several collections' means, each counting the same.

    The degrees of freedom are those of the smallest collection. One query has no standard error; it
    is given that of a difference between -1 and 1.
    """
    mean = np.mean([part.mean for part in parts], axis=0)
    errors = [np.where(np.isfinite(part.se), part.se, 1.0) for part in parts]
    se = np.sqrt(np.sum(np.square(errors), axis=0)) / len(parts)
    return Estimate(mean, se, min(part.dof for part in parts))


def _dof(sizes: Values) -> float:
    """Return the degrees of freedom of the variance over units of these sizes, at least 1.

    Satterthwaite's for residuals r = (I - a 1') D of units' sums D with variances v: those of a
    chi-square with the mean and the variance of r'r, tr(C)^2 / tr(C^2) with C = Cov(r). The v are
    those of a working correlation: the truth would have to be estimated from as few clusters, and
    this one covers 94 to 98% whatever the truth (`benchmarks/error_rates.md`).
    """
    if np.ptp(sizes) == 0:
        return len(sizes) - 1.0
    v = sizes * (1 + (sizes - 1) * _CORRELATION)
    a = sizes / sizes.sum()
    total, shared, own = v.sum(), (a * v).sum(), (a**2).sum()
    trace = total - 2 * shared + total * own
    square = (v**2).sum() - 4 * (a * v**2).sum() + 2 * total * (a**2 * v).sum()
    square += 2 * shared**2 + 2 * own * (v**2).sum() - 4 * total * shared * own + (total * own) ** 2
    return max(1.0, float(trace**2 / square))


def deviations(sample: Units, mean: Values) -> Values:
    """Return each unit's sum minus what `mean` expects of it; float noise alone counts as 0."""
    residuals = sample.sums - sample.sizes[:, None] * mean
    noise = np.abs(residuals).max(axis=0) <= SAME * np.abs(sample.sums).max(axis=0)
    residuals[:, noise] = 0
    return residuals


def design_effect(differences: Values, clusters: Clusters | None) -> Values:
    """Return how many times larger the clusters make the variance of each mean difference.

    The number of queries needed is multiplied by it. About 1 + (m - 1) rho for clusters of m
    queries with an intra-cluster correlation rho; below 1 where queries of a cluster disagree more
    than those of different ones. 1 where a column has no variance.

    Args:
        differences: float64 [n_queries, n_pairs].
        clusters: int [n_queries]; None, where all are independent, gives 1.

    Returns:
        float64 [n_pairs].
    """
    clustered = estimate(units(differences, clusters)).se
    single = estimate(units(differences)).se
    ratio: Values = np.divide(clustered, single, out=np.ones_like(single), where=single > 0)
    return ratio**2
