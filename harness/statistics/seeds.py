"""Seeds: whether a way of training is better, not only one checkpoint that came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.statistics.arrays import Clusters, Values, finite
from harness.statistics.distributions import t_probability, t_quantile
from harness.statistics.units import estimate, units

_DIGITS = 50  # of the smallest p


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
    """

    n: int
    seeds: int
    difference: float
    low: float
    high: float
    se_queries: float
    sd_seeds: float


def seed_difference(
    differences: Values, *, confidence: float = 0.95, clusters: Clusters | None = None
) -> SeedDifference:
    """Return the mean difference with the variance of queries and of seeds.

    SE^2 = SE_queries^2 + s_seeds^2 / S, and the multiple of it lies between those of Student's t
    with S - 1 and with n - 1 degrees of freedom (`SeedSpread.half_width`). In simulations of two,
    three and five seeds it covers 95 to 98 %. The seeds' means also vary by what seed and query do
    together, which SE_queries holds already: the interval errs on the wide side by that much.

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
    found = seed_spread(differences, clusters=clusters)
    half = found.half_width(confidence) if seeds > 1 and np.isfinite(found.se_queries) else np.inf
    return SeedDifference(
        n=n,
        seeds=seeds,
        difference=found.difference,
        low=found.difference - half,
        high=found.difference + half,
        se_queries=found.se_queries,
        sd_seeds=found.se_seeds * float(np.sqrt(seeds)) if seeds > 1 else np.inf,
    )


@dataclass(frozen=True)
class SeedSpread:
    """What another training seed would change about a mean difference.

    Attributes:
        difference: mean over queries and seeds.
        means: float64 [n_seeds], of each seed.
        se_queries: standard error over queries, of the mean over seeds.
        dof_queries: its degrees of freedom.
    """

    difference: float
    means: Values
    se_queries: float
    dof_queries: float

    @property
    def sd_seeds(self) -> float:
        """Standard deviation of the seeds' means; 0 where there is one, which tells nothing."""
        return float(self.means.std(ddof=1)) if len(self.means) > 1 else 0.0

    @property
    def se_seeds(self) -> float:
        """Standard error over seeds; 0 where there is one."""
        return self.sd_seeds / float(np.sqrt(len(self.means)))

    @property
    def se(self) -> float:
        """Standard error over queries and seeds."""
        return float(np.hypot(self.se_queries, self.se_seeds))

    @property
    def p(self) -> float:
        """Two-sided p of the difference, of the same test; 1 where nothing differs at all."""
        if not self.se:
            return float(self.difference == 0)
        return self._tail(abs(self.difference))

    def half_width(self, confidence: float) -> float:
        """Return half the width of the interval for another query and another seed.

        The multiple of the standard error is the mean of both quantiles, weighted by the variances
        (Cochran & Cox 1950). Satterthwaite's degrees of freedom would cover 89 % with two seeds
        that differ by three times the standard error over queries, and 93 % with three.
        """
        return self._half((1 - confidence) / 2)

    def p_of(self, half: float, confidence: float) -> float:
        """Return the p that belongs to an interval of any half width, one with a phantom or not."""
        alone = self.half_width(confidence)
        if not alone or not np.isfinite(half):
            return self.p
        return self._tail(abs(self.difference) * alone / half)

    def _half(self, tail: float) -> float:
        queries = -t_quantile(tail, self.dof_queries)
        if not self.se_seeds:
            return queries * self.se
        seeds = -t_quantile(tail, len(self.means) - 1)
        return (queries * self.se_queries**2 + seeds * self.se_seeds**2) / self.se

    def _tail(self, distance: float) -> float:
        """Return the two-sided p whose interval just reaches so far."""
        if not self.se_seeds:
            return 2 * t_probability(-distance / self.se, self.dof_queries)
        from scipy.optimize import brentq

        def short(digits: float) -> float:
            return distance - self._half(10**digits / 2)

        if distance == 0 or short(-_DIGITS) > 0:
            return 1.0 if distance == 0 else 10.0**-_DIGITS
        return float(10 ** brentq(short, -_DIGITS, 0, xtol=1e-12))

    def widen(self, half: float, confidence: float) -> float:
        """Return half the width of an interval over queries alone, with what the seeds add to it.

        Args:
            half: of any interval or bound over queries, such as one with a phantom loss.
            confidence: of it, two-sided.
        """
        alone = t_quantile((1 + confidence) / 2, self.dof_queries) * self.se_queries
        added = self.half_width(confidence) ** 2 - alone**2
        return float(np.sqrt(half**2 + max(0.0, added))) if np.isfinite(half) else half

    def stretched(self, differences: Values) -> Values:
        """Return per-query differences spread out so that their t has the p of queries and seeds.

        So a test that knows queries alone, such as one of a family, takes the seeds into account.

        Args:
            differences: float64 [n_queries], means over the seeds.
        """
        p, observed = self.p, abs(self.difference)
        if not self.se_seeds or not self.se_queries or not observed or p >= 1:
            return differences
        wanted = -t_quantile(p / 2, self.dof_queries)
        factor = observed / self.se_queries / wanted
        stretched: Values = self.difference + (differences - self.difference) * factor
        return stretched


def seed_spread(differences: Values, *, clusters: Clusters | None = None) -> SeedSpread:
    """Return what is known of a pair from each seed's per-query differences.

    Args:
        differences: float64 [n_queries, n_seeds], finite.
        clusters: int [n_queries], queries that belong together; None where all are independent.
    """
    over = estimate(units(differences.mean(axis=1, keepdims=True), clusters))
    means = estimate(units(differences)).mean
    return SeedSpread(float(over.mean[0]), means, float(over.se[0]), over.dof)


def seed_draws(means: Values, *, seed: int, draws: int) -> Values:
    """Draw what another training would add to mean differences, to be added to posterior draws.

    Each column is Student's t with n_seeds - 1 degrees of freedom, scaled by the standard error
    over its seeds. All columns see the same draws: what two candidates share because one is made of
    the other stays shared. A column without any spread is 0.

    Args:
        means: float64 [n_seeds, n_columns], two seeds or more.
        seed: 0 <= seed < 2**128, the key of the draws.
        draws: rows.

    Returns:
        float64 [draws, n_columns].
    """
    count = len(means)
    generator = np.random.Generator(np.random.Philox(key=seed))
    normal = generator.standard_normal((draws, count))
    scale = np.sqrt((count - 1) / generator.chisquare(count - 1, draws))
    drawn = np.zeros((draws, means.shape[1]))
    for row, deviation in enumerate(means - means.mean(axis=0)):
        drawn += normal[:, row, None] * deviation  # in this order everywhere, whatever the BLAS
    added: Values = drawn * (scale / np.sqrt(count * (count - 1)))[:, None]
    return added
