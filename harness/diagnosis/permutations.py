"""Permutations: losses dealt anew to the texts, which is what no region failing more would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices, Values

_BLOCK = 128  # permutations held at a time
_SMALLEST_STRATUM = 20  # groups that exchange their losses

Shuffle = Callable[[np.random.Generator], Values]


def draw_permutations(
    scores: Values, groups: Indices | None, *, permutations: int, seed: list[int]
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield blocks of permuted scores, float32 [n, b], `permutations` columns in all.

    Args:
        scores: float64 [n].
        groups: int [n], texts whose scores move together; None where all are independent.
        permutations: columns in all.
        seed: of the generator.
    """
    shuffle: Shuffle = _Exchange(scores, groups) if groups is not None else _plain(scores)
    draw = np.random.default_rng(seed)
    for start in range(0, permutations, _BLOCK):
        block: Any = np.empty((len(scores), min(_BLOCK, permutations - start)), dtype=np.float32)
        for column in range(block.shape[1]):
            block[:, column] = shuffle(draw)
        yield block


def _plain(scores: Values) -> Shuffle:
    ordered = np.sort(scores)  # equal texts have no order of their own
    return lambda draw: draw.permutation(ordered)


class _Exchange:
    """Permutations that keep the scores of a group together (a restricted permutation).

    A group takes the scores of another group of about its size, in turn from a random one on; where
    the other is larger some are left out, where it is smaller some come twice. Groups of one size
    exchange among themselves if there are 20, else with those of the next size.

    Args:
        scores: float64 [n].
        groups: int [n].
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
