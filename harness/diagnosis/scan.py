"""Scan: regions where losses are higher than chance among all regions explains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Indices, Values
from harness.diagnosis.regions import REGION_KINDS, Regions

Discovery = Literal["strict", "exploratory"]

LEVEL = 0.05
PERMUTATIONS = 2000
MOST = 10  # regions that are reported
_SAME = 1e-4  # z that float32 sums may differ by
_LEFT = 0.5  # share of a region that is not yet taken, for its name to be still true
_NEAR = 0.2  # Jaccard index of two regions that may be the same slice
_COSTS = np.array([1, 1, 1, 4])  # of kinds: words are many, and the poorest regions
_BALL = REGION_KINDS.index("ball")
_SLACK = 0.05  # of F1 by which a ball must be better than a region with a shape or a name
_TEMPER = 0.3  # of likelihoods: regions overlap, so their evidence is not independent
_BLOCK = 128  # permutations held at a time
_SMALLEST_STRATUM = 20  # groups that exchange their losses
_SUBSAMPLES, _SUBSAMPLE = 20, 0.8  # and the share of the texts in each


class FoundRegion(NamedTuple):
    """A region with a high mean loss.

    Attributes:
        region: its place.
        members: rows, ascending, without those of regions found before it.
        z: of its mean loss among the texts that were left.
        p_adjusted: over all regions; not below that of a region found before it.
    """

    region: int
    members: Indices
    z: float
    p_adjusted: float


class Found(NamedTuple):
    """What was found.

    Attributes:
        regions: in the order in which they were found; no two share a text.
        needed: float64 [kinds], z from which p_adjusted is at most `LEVEL`, for each of
            `REGION_KINDS`; infinite where no region is of that kind.
    """

    regions: tuple[FoundRegion, ...]
    needed: Values


def scan_regions(
    regions: Regions,
    losses: Values,
    *,
    groups: Indices | None = None,
    discovery: Discovery = "strict",
    permutations: int = PERMUTATIONS,
    seed: int,
) -> Found:
    """Find regions with a high mean loss, one after the other.

    The best region is tested by permutation against the best of all regions (max-T, Westfall &
    Young 1993); if it passes, its texts are taken away and the rest is tested anew (Zhang, Assuncao
    & Kulldorff 2010), so that no region is found for what it shares with another. Where no region
    fails more than others any is found with probability `LEVEL`.

    Args:
        regions: of n texts.
        losses: float64 [n], finite; larger is worse.
        groups: int [n], texts that belong together, such as questions of one document: their
            losses move together; None where all are independent.
        discovery: "strict" is max-T; "exploratory" also takes what keeps the expected share of
            false regions below `LEVEL` (Benjamini & Hochberg 1995).
        permutations: B.
        seed: of the permutations.
    """
    needed = np.full(len(REGION_KINDS), np.inf)

    def judge(family: _Family, scores: Values, left: Indices, step: int) -> _Tests:
        tests = _test(
            family,
            scores,
            groups=None if groups is None else groups[regions.order[left]],
            discovery=discovery,
            permutations=permutations,
            seed=[seed, step],
        )
        if step == 0:
            needed[:] = tests.needed
        return tests

    found = tuple(_search(regions, losses, np.arange(regions.n), judge))
    return Found(found, needed)


def stabilities(regions: Regions, losses: Values, found: Found, *, seed: int) -> list[float]:
    """Return the mean best Jaccard index of each found region over subsamples (Hennig 2007).

    Each subsample is searched anew among the same regions, by the z that was needed before instead
    of a new test; fewer texts need less. 0.75 and more is stable, below 0.6 dubious; 0 is a region
    that is never found again.
    """
    if not found.regions:
        return []
    draw = np.random.default_rng(seed)
    sums = np.zeros(len(found.regions))
    for _ in range(_SUBSAMPLES):
        columns = np.sort(draw.permutation(regions.n)[: int(_SUBSAMPLE * regions.n)])
        shrunk = found.needed * np.sqrt(len(columns) / regions.n)

        def judge(
            family: _Family,
            scores: Values,
            _left: Indices,
            _step: int,
            shrunk: Values = shrunk,
        ) -> _Tests:
            z = family.members @ scores.astype(np.float32) * _scales(family)
            excess = z - shrunk[family.kinds]
            return _Tests(z, excess, np.zeros_like(z), excess > 0, shrunk)

        again = [each.members for each in _search(regions, losses, columns, judge)]
        rows = regions.order[columns]
        for place, each in enumerate(found.regions):
            kept = np.intersect1d(each.members, rows, assume_unique=True)
            shared = [len(np.intersect1d(kept, other, assume_unique=True)) for other in again]
            sums[place] += max(
                (
                    both / (len(kept) + len(other) - both)
                    for both, other in zip(shared, again, strict=True)
                ),
                default=0.0,
            )
    return [float(each) for each in sums / _SUBSAMPLES]


def _search(
    regions: Regions, losses: Values, left: Indices, judge: _Judge
) -> Iterator[FoundRegion]:
    """Yield the best region that passes, take its texts away, and look again."""
    members = regions.members.tocsc()
    smallest = regions.limits.smallest * len(left) / regions.n
    whole = np.diff(regions.members.indptr)
    highest_p = 0.0
    for step in range(MOST):
        rest = members[:, left].tocsr()
        sizes = np.diff(rest.indptr)
        enough = (sizes >= np.maximum(smallest, _LEFT * whole)) & (sizes < len(left))
        places = np.flatnonzero(enough)
        kept = sizes[places].astype(np.float64)
        family = _Family(rest[places], regions.kinds[places], kept, places)
        scores = _standardise(losses[regions.order[left]])
        if not len(family.places) or not scores.any():
            return
        tests = judge(family, scores, left, step)
        if not tests.accepted.any():
            return
        best = _settle(family, tests)
        columns = family.columns(best)
        rows = np.sort(regions.order[left[columns]])
        highest_p = max(highest_p, float(tests.p_adjusted[best]))
        yield FoundRegion(int(family.places[best]), rows, float(tests.z[best]), highest_p)
        left = np.delete(left, columns)


@dataclass(frozen=True, eq=False)
class _Family:
    """The regions that are tested together, over the texts that are left.

    Attributes:
        members: CSR float32 [n_tested, n_left].
        kinds: of each, place in `REGION_KINDS`.
        sizes: float64 [n_tested].
        places: int64 [n_tested], which regions they are.
    """

    members: Any
    kinds: npt.NDArray[np.int8]
    sizes: Values
    places: Indices

    def columns(self, region: int) -> Indices:
        """Return the members of a region."""
        start, stop = self.members.indptr[region : region + 2]
        return np.asarray(self.members.indices[start:stop], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Tests:
    """All arrays are [n_tested].

    Attributes:
        z: standardised mean loss, for sampling without replacement.
        excess: z above what its kind needs.
        p_adjusted: over all.
        accepted: which may be reported.
        needed: float64 [kinds], as in `Found`.
    """

    z: Values
    excess: Values
    p_adjusted: Values
    accepted: Flags
    needed: Values


_Judge = Callable[[_Family, Values, Indices, int], _Tests]


def _standardise(losses: Values) -> Values:
    """Return losses in standard deviations from their mean; zeros where all are the same."""
    ordered = np.sort(losses)  # sums must not depend on the order of the texts
    deviations = losses - ordered.mean()
    spread = float(np.sqrt(np.mean((ordered - ordered.mean()) ** 2)))
    if spread <= 1e-9 * max(1.0, float(np.abs(ordered).max())):
        return np.zeros_like(losses)
    scores: Values = deviations / spread
    return scores


def _test(
    family: _Family,
    scores: Values,
    *,
    groups: Indices | None,
    discovery: Discovery,
    permutations: int,
    seed: list[int],
) -> _Tests:
    scales = _scales(family)
    z = (family.members @ scores.astype(np.float32)) * scales
    kinds, starts = np.unique(family.kinds, return_index=True)  # they come kind after kind
    maxima, moments = [], np.zeros((3, len(z)))
    for block in draw_permutations(scores, groups, permutations=permutations, seed=seed):
        drawn = (family.members @ block) * scales[:, None]
        maxima.append(np.maximum.reduceat(drawn, starts, axis=0))
        if discovery == "exploratory":
            moments += [(drawn**power).sum(axis=1, dtype=np.float64) for power in (1, 2, 3)]
    own = np.searchsorted(kinds, family.kinds)
    p_adjusted, needed = _max_t(z, own, np.concatenate(maxima, axis=1), _COSTS[kinds])
    accepted = p_adjusted <= LEVEL
    if discovery == "exploratory":
        from scipy.stats import false_discovery_control

        accepted |= false_discovery_control(_tail(z, moments / permutations)) <= LEVEL
    of_all = np.full(len(REGION_KINDS), np.inf)
    of_all[kinds] = needed
    return _Tests(z, z - needed[own], p_adjusted, accepted & (z > 0), of_all)


def draw_permutations(
    scores: Values, groups: Indices | None, *, permutations: int, seed: list[int]
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield blocks of permuted scores, float32 [n, b], `permutations` columns in all.

    Losses dealt anew to the texts are what they would be if no region failed more than others.

    Args:
        scores: float64 [n].
        groups: int [n], texts whose scores move together; None where all are independent.
        permutations: columns in all.
        seed: of the generator.
    """
    draw = np.random.default_rng(seed)
    exchange = None if groups is None else _Exchange(scores, groups)
    ordered = np.sort(scores)  # equal texts have no order of their own
    for start in range(0, permutations, _BLOCK):
        block: Any = np.empty((len(scores), min(_BLOCK, permutations - start)), dtype=np.float32)
        for column in range(block.shape[1]):
            block[:, column] = draw.permutation(ordered) if exchange is None else exchange(draw)
        yield block


class _Exchange:
    """Permutations that keep the scores of a group together (a restricted permutation).

    A group takes the scores of another group of about its size, in turn from a random one on; where
    the other is larger some are left out, where it is smaller some come twice. Groups of one size
    exchange among themselves if there are 20, else with those of the next size.
    """

    def __init__(self, scores: Values, groups: Indices) -> None:
        _, first, member = np.unique(groups, return_index=True, return_inverse=True)
        member = np.argsort(np.argsort(first))[member]  # by first column, whatever their names
        self._columns = np.lexsort((scores, member))
        self._scores = scores[self._columns]
        self._sizes = np.bincount(member)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._strata = _strata(self._sizes)
        self._offsets = np.arange(len(scores)) - np.repeat(self._starts, self._sizes)

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


def _strata(sizes: Indices) -> list[Indices]:
    """Return groups in strata of like size: equal sizes together, at least 20 groups in each."""
    strata: list[Indices] = []
    for size in np.unique(sizes):
        same = np.flatnonzero(sizes == size)
        if strata and len(strata[-1]) < _SMALLEST_STRATUM:
            strata[-1] = np.concatenate([strata[-1], same])
        else:
            strata.append(same)
    if len(strata) > 1 and len(strata[-1]) < _SMALLEST_STRATUM:
        last = strata.pop()
        strata[-1] = np.concatenate([strata[-1], last])
    return strata


def _scales(family: _Family) -> npt.NDArray[np.float32]:
    """Return what turns a sum of standardised losses into z, float32 [n_tested]."""
    n, sizes = family.members.shape[1], family.sizes
    scales: npt.NDArray[np.float32] = np.sqrt((n - 1) / (sizes * (n - sizes))).astype(np.float32)
    return scales


def _max_t(z: Values, own: Indices, maxima: Values, costs: Indices) -> tuple[Values, Values]:
    """Return the adjusted p of each region, and the z that each kind needs.

    Each kind is first compared with its own largest z, so that many regions of one kind do not
    make another blind; then the smallest p of the kinds is compared with its own distribution
    (Ge, Dudoit & Speed 2003).

    Args:
        z: float [n_tested].
        own: the kind of each.
        maxima: float [n_kinds, permutations], largest z of each kind.
        costs: int [n_kinds], what the p of each kind is multiplied by.
    """
    observed = [z[own == kind].max() for kind in range(len(maxima))]
    every = np.column_stack([maxima, observed])  # the observed losses are one permutation more
    count = every.shape[1]
    ordered = np.sort(every, axis=1)
    ranks = [
        cost * (count - np.searchsorted(row, each - _SAME))
        for row, each, cost in zip(ordered, every, costs, strict=True)
    ]
    smallest = np.sort(np.min(ranks, axis=0))
    reached = np.empty(len(z), dtype=np.int64)
    for kind, row in enumerate(ordered):
        mine = own == kind
        reached[mine] = costs[kind] * (count - np.searchsorted(row, z[mine] - _SAME))
    p = np.searchsorted(smallest, reached, side="right") / count
    allowed = (int(smallest[int(LEVEL * count)]) - 1) // costs
    needed = ordered[np.arange(len(ordered)), count - 1 - allowed]
    return p, needed


def _settle(family: _Family, tests: _Tests) -> int:
    """Return the region to report: the one that agrees best with all that are as good.

    The region of the highest z fits the noise. Each region near it says with its likelihood which
    texts are in the slice; the accepted region is taken whose expected F1 with the slice is best.
    """
    best = int(np.argmax(np.where(tests.accepted, tests.excess, -np.inf)))
    inside = np.zeros(family.members.shape[1], dtype=np.float32)
    inside[family.columns(best)] = 1
    shared = family.members @ inside
    near = shared >= _NEAR * (family.sizes + family.sizes[best] - shared)
    places = np.flatnonzero(near & (tests.z > 0))
    evidence = _TEMPER * tests.z[places] ** 2 / 2
    weights = np.exp(evidence - evidence.max())
    expected = family.members[places].T @ (weights / weights.sum())
    places = places[tests.accepted[places]]
    agreement = 2 * (family.members[places] @ expected) / (family.sizes[places] + expected.sum())
    agreement[family.kinds[places] == _BALL] -= _SLACK
    return int(places[np.argmax(agreement)])


def _tail(z: Values, moments: Values) -> Values:
    """Return the chance of each z or more, from a gamma distribution with the moments of its null.

    Args:
        z: float [n_tested].
        moments: float [3, n_tested], means of z, z^2 and z^3 over the permutations.
    """
    from scipy.special import gammaincc, ndtr

    mean, square, cube = moments
    spread = np.sqrt(np.maximum(square - mean**2, 1e-12))
    skew = (cube - 3 * mean * square + 2 * mean**3) / spread**3
    standard = (z - mean) / spread
    shape = 4 / np.maximum(np.abs(skew), 0.01) ** 2
    gamma = gammaincc(shape, np.maximum(shape + standard * np.sqrt(shape), 0))
    p: Values = np.where(skew > 0.01, gamma, ndtr(-standard))
    return p
