"""Scan: regions where losses are higher than chance among all regions explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.diagnosis.regions import Regions
from harness.diagnosis.topics import Rows
from harness.statistics.arrays import Values
from harness.statistics.sign_flips import permutation_p

Discovery = Literal["strict", "exploratory"]

LEVEL = 0.05
PERMUTATIONS = 2000
MOST = 10  # clusters that are reported
_BLOCK = 128  # permutations held at a time
_GRID = 2.0**30  # standard deviations are rounded to this part: sums are exact in any order
_SMALLEST_STRATUM = 20  # groups that exchange their losses


@dataclass(frozen=True)
class RegionTests:
    """Every region's test; all arrays are [n_regions].

    Attributes:
        z: standardised difference of the region's mean loss to the mean of all, for sampling
            without replacement.
        p: of the region alone, by permutation.
        p_adjusted: max-T over all regions (Westfall & Young): at most 0.05 in any region with
            probability 0.05 where no region fails more than others.
        threshold: z from which p_adjusted is at most `LEVEL`.
    """

    z: Values
    p: Values
    p_adjusted: Values
    threshold: float


def judge_regions(
    regions: Regions,
    losses: Values,
    *,
    groups: Rows | None = None,
    permutations: int = PERMUTATIONS,
    seed: int,
) -> RegionTests:
    """Test the mean loss of every region against that of all by permutation.

    Args:
        regions: of the n texts.
        losses: float64 [n], finite; larger is worse.
        groups: int [n], texts that belong together, such as questions of one document: their
            losses move together; None where all are independent.
        permutations: B.
        seed: of the permutations.
    """
    scores = _standardise(losses)
    scale = _scales(regions)
    z = (regions.members @ scores) * scale
    reached = z - 1e-9
    alone = np.zeros(len(z), dtype=np.int64)
    maxima: list[Values] = []
    for block in _permuted(scores, regions.places, groups, permutations=permutations, seed=seed):
        drawn = (regions.members @ block) * scale[:, None]
        alone += np.count_nonzero(drawn >= reached[:, None], axis=1)
        maxima.append(drawn.max(axis=0, initial=-np.inf))
    highest = np.sort(np.concatenate(maxima))
    extreme = permutations - np.searchsorted(highest, reached)
    rank = int(np.ceil((1 - LEVEL) * (permutations + 1)))
    return RegionTests(
        z=z,
        p=permutation_p(alone, permutations),
        p_adjusted=permutation_p(extreme, permutations),
        threshold=float(highest[min(rank, permutations) - 1]),
    )


def select(regions: Regions, tests: RegionTests, *, discovery: Discovery) -> list[int]:
    """Return regions that share no text, the highest z first, at most `MOST`.

    Args:
        regions: tested.
        tests: of them.
        discovery: "strict" takes p_adjusted of at most `LEVEL`; "exploratory" controls the share
            of false ones among all instead (Benjamini & Hochberg 1995).
    """
    accepted = tests.p_adjusted <= LEVEL
    if discovery == "exploratory":
        accepted |= _benjamini_hochberg(tests.p)
    places = np.flatnonzero(accepted & (tests.z > 0))
    taken = np.zeros(regions.n, dtype=bool)
    chosen: list[int] = []
    for region in places[np.argsort(-tests.z[places], kind="stable")].tolist():
        rows = regions.rows(region)
        if not taken[rows].any():
            taken[rows] = True
            chosen.append(region)
        if len(chosen) == MOST:
            break
    return chosen


def _standardise(losses: Values) -> Values:
    """Return losses in standard deviations from their mean, on a grid where sums are exact."""
    ordered = np.sort(losses)
    deviations = losses - ordered.mean()
    spread = float(np.sqrt(np.mean((ordered - ordered.mean()) ** 2)))
    if spread <= 1e-12 * max(1.0, float(np.abs(ordered).max(initial=0.0))):
        return np.zeros_like(losses)
    grid: Values = np.rint(deviations / spread * _GRID) / _GRID
    return grid


def _scales(regions: Regions) -> Values:
    """Return what a sum of standardised losses is multiplied by to become z, [n_regions]."""
    sizes, n = regions.sizes, regions.n
    scales: Values = np.sqrt((n - 1) / (sizes * (n - sizes)))
    return scales


def _permuted(
    scores: Values, places: Rows, groups: Rows | None, *, permutations: int, seed: int
) -> Iterator[Any]:
    """Yield blocks [n, b] of permuted scores, `permutations` columns in all."""
    shuffle = _plain(scores, places) if groups is None else _Exchange(scores, places, groups)
    draw = np.random.default_rng(seed)
    for start in range(0, permutations, _BLOCK):
        width = min(_BLOCK, permutations - start)
        yield np.stack([shuffle(draw) for _ in range(width)], axis=1)


def _plain(scores: Values, places: Rows) -> Any:
    """Return a function that draws a permutation, the same whatever the order of the texts."""
    ordered = np.sort(scores)
    return lambda draw: draw.permutation(ordered)[places]


class _Exchange:
    """Permutations that keep the losses of a group together.

    A group takes the losses of another group of about its size, in random order; where the other
    is larger some are left out, where it is smaller some come twice.
    """

    def __init__(self, scores: Values, places: Rows, groups: Rows) -> None:
        order = np.argsort(places)
        _, first, member = np.unique(groups[order], return_index=True, return_inverse=True)
        member = np.argsort(np.argsort(first))[member]
        by_group = np.argsort(member, kind="stable")
        sizes = np.bincount(member)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._columns = order[by_group]
        self._scores = scores[self._columns]
        self._sizes, self._starts = sizes, starts
        self._strata = _strata(sizes)
        self._offsets = np.arange(len(scores)) - np.repeat(starts, sizes)

    def __call__(self, draw: np.random.Generator) -> Values:
        """Draw one permutation, float64 [n]."""
        donors = np.empty(len(self._sizes), dtype=np.int64)
        for stratum in self._strata:
            donors[stratum] = draw.permutation(stratum)
        turns = draw.integers(0, self._sizes[donors])
        donor = np.repeat(donors, self._sizes)
        place = (self._offsets + np.repeat(turns, self._sizes)) % self._sizes[donor]
        drawn = self._scores[self._starts[donor] + place]
        result: Values = np.empty_like(drawn)
        result[self._columns] = drawn - drawn.mean()
        return result


def _strata(sizes: Rows) -> list[Rows]:
    """Return groups in strata of like size: equal sizes together, at least 20 groups each."""
    order = np.argsort(sizes, kind="stable")
    strata: list[Rows] = []
    for size in np.unique(sizes):
        same = order[sizes[order] == size]
        if strata and len(strata[-1]) < _SMALLEST_STRATUM:
            strata[-1] = np.concatenate([strata[-1], same])
        else:
            strata.append(same)
    if len(strata) > 1 and len(strata[-1]) < _SMALLEST_STRATUM:
        last = strata.pop()
        strata[-1] = np.concatenate([strata[-1], last])
    return strata


def _benjamini_hochberg(p: Values) -> npt.NDArray[np.bool_]:
    order = np.argsort(p, kind="stable")
    below = p[order] <= LEVEL * np.arange(1, len(p) + 1) / max(1, len(p))
    count = int(np.flatnonzero(below).max(initial=-1)) + 1
    accepted = np.zeros(len(p), dtype=bool)
    accepted[order[:count]] = True
    return accepted
