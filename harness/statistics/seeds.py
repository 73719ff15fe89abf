"""Seeds: whether a way of training is better, not only one checkpoint that came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.statistics.arrays import Clusters, Values, finite
from harness.statistics.distributions import t_quantile
from harness.statistics.units import estimate, units


@dataclass(frozen=True)
class SeedDifference:
    """The mean difference of a trained candidate over queries and training seeds.

    Attributes:
        n: queries.
        seeds: trainings.
        difference: mean over both.
        low, high: interval for another query and another seed; infinite where there is one seed.
        se_queries: standard error over queries, of the mean over seeds.
        sd_seeds: standard deviation of the seeds' means. Infinite, which is unknown, for one seed:
            `paired` then tells whether that checkpoint is better, not whether training is.
        dof: degrees of freedom of the interval.
    """

    n: int
    seeds: int
    difference: float
    low: float
    high: float
    se_queries: float
    sd_seeds: float
    dof: float


def seed_difference(
    differences: Values, *, confidence: float = 0.95, clusters: Clusters | None = None
) -> SeedDifference:
    """Return the mean difference with the variance of queries and of seeds.

    SE^2 = SE_queries^2 + s_seeds^2 / S, a t-interval with Welch-Satterthwaite degrees of freedom
    between S - 1 and n + S - 2. The seeds' means also vary by what seed and query do together,
    which SE_queries holds already: the interval errs on the wide side by that much.

    >>> found = seed_difference(np.array([[0.1, 0.3], [0.3, 0.1], [0.2, 0.2]]))
    >>> round(found.difference, 3), found.sd_seeds  # each query gains 0.2, each seed too
    (0.2, 0.0)

    Args:
        differences: float64 [n_queries, n_seeds], each seed's candidate minus the reference.
        confidence: of the interval.
        clusters: int [n_queries], queries that belong together; None where all are independent.

    Raises:
        ValueError: no query, no seed, or a difference that is NaN or infinite.
    """
    differences = finite(differences)
    n, seeds = differences.shape
    if seeds == 0:
        raise ValueError("no seed to compute statistics of")
    over_queries = estimate(units(differences.mean(axis=1, keepdims=True), clusters))
    over_seeds = estimate(units(differences.mean(axis=0)[:, None]))
    mean, parts = float(over_queries.mean[0]), (over_queries, over_seeds)
    variances = np.array([float(part.se[0]) ** 2 for part in parts])
    dof, half = 1.0, np.inf
    if np.isfinite(variances).all():
        weights = variances / (variances.sum() or 1.0)
        dof = 1 / float((weights**2 / [part.dof for part in parts]).sum() or 1 / over_queries.dof)
        half = t_quantile((1 + confidence) / 2, dof) * float(np.sqrt(variances.sum()))
    return SeedDifference(
        n=n,
        seeds=seeds,
        difference=mean,
        low=mean - half,
        high=mean + half,
        se_queries=float(over_queries.se[0]),
        sd_seeds=float(over_seeds.se[0]) * float(np.sqrt(seeds)),
        dof=dof,
    )
