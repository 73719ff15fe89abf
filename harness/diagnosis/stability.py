"""Stability: whether a cluster would be found again, with the same members, in other queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.arrays import Indices, Values
from harness.diagnosis.regions import Regions
from harness.diagnosis.scan import Found, find_again

_SUBSAMPLES = 20
_SHARE = 0.8


def stabilities(regions: Regions, losses: Values, found: Found, *, seed: int) -> list[float]:
    """Return the mean best Jaccard index of each found region over subsamples (Hennig 2007).

    Each subsample is searched anew among the same regions. 0.75 and more is stable, below 0.6
    dubious; 0 is a region that is never found again.

    Args:
        regions: of n texts.
        losses: float64 [n].
        found: in all of them.
        seed: of the subsamples.
    """
    if not found.regions:
        return []
    draw = np.random.default_rng(seed)
    sums = np.zeros(len(found.regions))
    for _ in range(_SUBSAMPLES):
        columns = draw.permutation(regions.n)[: int(_SHARE * regions.n)]
        rows = regions.order[columns]
        again = [each.members for each in find_again(regions, losses, rows, needed=found.needed)]
        sums += [_best_jaccard(each.members, rows, again) for each in found.regions]
    return [float(each) for each in sums / _SUBSAMPLES]


def _best_jaccard(members: Indices, rows: Indices, others: Sequence[Indices]) -> float:
    kept = np.intersect1d(members, rows, assume_unique=True)
    best = 0.0
    for other in others:
        shared = len(np.intersect1d(kept, other, assume_unique=True))
        best = max(best, shared / (len(kept) + len(other) - shared))
    return best
