"""Seeded: tests over queries, widened by what another training seed could change.

Where no pair was trained with several seeds, each function returns what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.statistics.arrays import Values
from harness.statistics.distributions import normal_quantile, t_probability
from harness.statistics.families import FamilyTests
from harness.statistics.inferiority import Bounds
from harness.statistics.pairs import PairedTests
from harness.statistics.power import POWER
from harness.statistics.seeds import SeedSpread, seed_draws
from harness.statistics.unseen import Cautious


def seeded_pairs(
    tests: PairedTests, spreads: Sequence[SeedSpread], *, confidence: float = 0.95
) -> PairedTests:
    """Return paired tests in which interval, p and detectable effect know of the seeds.

    Args:
        tests: of the means over the seeds.
        spreads: of each pair.
        confidence: of the intervals.
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
            spread.widen(each, confidence) for each in (mean - low[place], high[place] - mean)
        ]
        low[place], high[place] = mean - halves[0], mean + halves[1]
        p[place], se[place] = spread.p_of(halves[0 if mean > 0 else 1], confidence), spread.se
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
        spread, mean = spreads[place], found.difference[place]
        low[place] = mean - spread.widen(mean - low[place], 2 * found.confidence - 1)
        high[place] = mean + spread.widen(high[place] - mean, 2 * found.confidence - 1)
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
