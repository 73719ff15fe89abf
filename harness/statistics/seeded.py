"""Seeded: tests over queries, widened by what another training seed could change.

Where no pair was trained with several seeds, each function returns what it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.statistics.arrays import Values
from harness.statistics.distributions import t_probability
from harness.statistics.families import FamilyTests
from harness.statistics.inferiority import CONFIDENCE, Bounds
from harness.statistics.pairs import PairedTests
from harness.statistics.power import minimum_detectable
from harness.statistics.seeds import SeedSpread, seed_draws


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
    low, high, p, se = (np.array(each) for each in (tests.low, tests.high, tests.p, tests.se))
    for place in seeded:
        spread = spreads[place]
        half = spread.half_width(confidence)
        low[place], high[place] = spread.difference - half, spread.difference + half
        p[place], se[place] = spread.p, spread.se
    return replace(tests, low=low, high=high, p=p, se=se, mde=minimum_detectable(se))


def seeded_family(family: FamilyTests, spreads: Sequence[SeedSpread]) -> FamilyTests:
    """Return a family whose intervals know of the seeds, each at the level of the critical value.

    Args:
        family: of differences that were `stretched`, so that its p know of the seeds already.
        spreads: of each pair.
    """
    seeded = _seeded(spreads)
    if not seeded:
        return family
    low, high = np.array(family.low), np.array(family.high)
    for place in seeded:
        spread = spreads[place]
        half = simultaneous_half(spread, family.critical)
        low[place], high[place] = spread.difference - half, spread.difference + half
    return replace(family, low=low, high=high)


def seeded_bounds(
    found: Bounds, spreads: Sequence[SeedSpread], *, confidence: float = CONFIDENCE
) -> Bounds:
    """Return one-sided bounds that know of the seeds.

    Args:
        found: bounds of the means over the seeds.
        spreads: of each pair.
        confidence: of each bound.
    """
    seeded = _seeded(spreads)
    if not seeded:
        return found
    low, high = np.array(found.low), np.array(found.high)
    for place in seeded:
        spread, mean = spreads[place], found.difference[place]
        low[place] = mean - spread.widen(mean - low[place], 2 * confidence - 1)
        high[place] = mean + spread.widen(high[place] - mean, 2 * confidence - 1)
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


def simultaneous_half(spread: SeedSpread, critical: float) -> float:
    """Return half the width of an interval that `critical` standard errors over queries give.

    The seeds' few degrees of freedom need a larger multiple for the same confidence.
    """
    half = critical * spread.se_queries if spread.se_queries else 0.0
    return spread.widen(half, 1 - 2 * t_probability(-critical, spread.dof_queries))


def _seeded(spreads: Sequence[SeedSpread]) -> list[int]:
    return [place for place, spread in enumerate(spreads) if spread.se_seeds > 0]
