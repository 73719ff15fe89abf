"""Seeds: whether a way of training is better, not only one checkpoint that came of it.

`SeedSpread` is the one estimate of a mean that holds the variance of queries and of seeds; every
test over queries reads it to be about another training as well. Where no pair was trained with
several seeds, the `seeded_` functions return what they are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.arrays import Clusters, Values
from harness.statistics.distributions import normal_quantile, t_probability, t_quantile
from harness.statistics.families import FamilyTests
from harness.statistics.inferiority import Bounds
from harness.statistics.pairs import Interval, PairedTests
from harness.statistics.power import CONFIDENCE, POWER
from harness.statistics.units import Estimate, estimate, units
from harness.statistics.unseen import Cautious

_DIGITS = 50  # of the smallest p


@dataclass(frozen=True)
class SeedSpread:
    """A mean difference with what another query and another training seed would change about it.

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

        SE^2 = SE_queries^2 + s_seeds^2 / S, and the multiple of SE is the mean of both quantiles of
        Student's t, weighted by the variances (Cochran & Cox 1950). In simulations of two, three
        and five seeds it covers 95 to 98%; Satterthwaite's degrees of freedom would cover 89% of
        two seeds that differ by three times the standard error over queries, and 93% of three.
        The seeds' means also vary by what seed and query do together, which SE_queries holds
        already: the interval errs on the wide side by that much.
        """
        return self._half((1 - confidence) / 2) if np.isfinite(self.se_queries) else np.inf

    def interval(self) -> Interval:
        """Return the mean and its 95% interval for another query and another seed.

        >>> found = seed_spread(np.array([[0.1, 0.3], [0.3, 0.1], [0.2, 0.2]])).interval()
        >>> [round(each, 3) for each in found]  # each query gains 0.2, each seed too
        [0.2, 0.2, 0.2]
        """
        half = self.half_width(CONFIDENCE)
        return Interval(self.difference, self.difference - half, self.difference + half)

    def p_of(self, half: float) -> float:
        """Return the p that belongs to a 95% interval of any half width, with a phantom or not."""
        alone = self.half_width(CONFIDENCE)
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

    def widened(self, low: float, high: float, confidence: float) -> tuple[float, float]:
        """Return both ends of an interval over queries alone, with what the seeds add to it."""
        mean = self.difference
        return mean - self.widen(mean - low, confidence), mean + self.widen(high - mean, confidence)

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
    return seed_spreads(over, [estimate(units(differences)).mean])[0]


def seed_spreads(over: Estimate, means: Iterable[Values]) -> list[SeedSpread]:
    """Return an estimate over queries with the means of each column's seeds, float64 [n_seeds]."""
    return [
        SeedSpread(float(mean), of_seeds, float(se), over.dof)
        for mean, se, of_seeds in zip(over.mean, over.se, means, strict=True)
    ]


def seed_draws(means: Values, *, seed: int, draws: int) -> Values:
    """Draw what another training would add to mean differences, to be added to posterior draws.

    Each column is Student's t with n_seeds - 1 degrees of freedom, scaled by the standard error
    over its seeds. All columns see the same draws, so that two candidates of one training share its
    variance. A column without any spread is 0.

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


def seeded_pairs(tests: PairedTests, spreads: Sequence[SeedSpread]) -> PairedTests:
    """Return paired tests in which interval, p and detectable effect know of the seeds.

    Args:
        tests: of the means over the seeds.
        spreads: of each pair.
    """
    seeded = _seeded(spreads)
    if not seeded:
        return tests
    low, high, p, se, mde = (
        np.array(each) for each in (tests.low, tests.high, tests.p, tests.se, tests.mde)
    )
    for place in seeded:
        spread, mean = spreads[place], tests.difference[place]
        halves = [
            spread.widen(each, CONFIDENCE) for each in (mean - low[place], high[place] - mean)
        ]
        low[place], high[place] = mean - halves[0], mean + halves[1]
        p[place], se[place] = spread.p_of(halves[0 if mean > 0 else 1]), spread.se
        mde[place] = max(halves) + normal_quantile(POWER) * spread.se
    return replace(tests, low=low, high=high, p=p, se=se, mde=mde)


def seeded_family(
    family: FamilyTests, spreads: Sequence[SeedSpread], means: Cautious
) -> FamilyTests:
    """Return a family whose intervals know of the seeds, each at the level of the critical value.

    Args:
        family: of differences that were `stretched`, so that its p know of the seeds already.
        spreads: of each pair.
        means: of the differences as they were.
    """
    seeded = _seeded(spreads)
    if not seeded:
        return family
    low, high, mde = np.array(family.low), np.array(family.high), np.array(family.mde)
    ends = means.low(family.critical), means.high(family.critical)
    for place in seeded:
        spread, mean = spreads[place], family.difference[place]
        alone = 1 - 2 * t_probability(-family.critical, spread.dof_queries)
        below, above = (spread.widen(abs(mean - end[place]), alone) for end in ends)
        low[place], high[place] = mean - below, mean + above
        mde[place] = max(below, above) + normal_quantile(POWER) * spread.se
    return replace(family, low=low, high=high, mde=mde)


def seeded_bounds(found: Bounds, spreads: Sequence[SeedSpread]) -> Bounds:
    """Return one-sided bounds that know of the seeds.

    Args:
        found: bounds of the means over the seeds.
        spreads: of each pair.
    """
    seeded = _seeded(spreads)
    if not seeded:
        return found
    low, high = np.array(found.low), np.array(found.high)
    for place in seeded:
        low[place], high[place] = spreads[place].widened(
            low[place], high[place], 2 * found.confidence - 1
        )
    return replace(found, low=low, high=high)


def seeded_draws(draws: Values, means: Sequence[Values], *, seed: int) -> Values:
    """Return posterior draws of mean differences with what another training would add.

    Args:
        draws: float64 [draws, n_columns], over queries.
        means: of each column, float64 [n_seeds] of its seeds, or [1].
        seed: 0 <= seed < 2**128, the key of what is added.

    Raises:
        ValueError: two columns have different numbers of seeds, several each.
    """
    counts = {len(each) for each in means} - {1}
    if not counts:
        return draws
    if len(counts) > 1:
        raise ValueError(f"columns of {sorted(counts)} seeds are not drawn together")
    count = counts.pop()
    together = np.stack([np.broadcast_to(each, (count,)) for each in means], axis=1)
    added: Values = draws + seed_draws(together, seed=seed, draws=len(draws))
    return added


def _seeded(spreads: Sequence[SeedSpread]) -> list[int]:
    return [place for place, spread in enumerate(spreads) if spread.se_seeds > 0]
