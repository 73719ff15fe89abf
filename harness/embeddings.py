"""Embeddings: vectors of a list of texts, read in blocks from memory-mapped shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
_Float = TypeVar("_Float", np.float32, np.float64)


@dataclass(frozen=True)
class Embeddings:
    """Vectors of n rows, where rows with the same text share one stored vector.

    Attributes:
        shards: float [m_i, width] each, memory-mapped; together the stored vectors.
        places: int64 [n], which stored vector a row has, counted through all shards.
        width: leading dimensions that are used, a Matryoshka prefix; at most the stored width.
        normalised: scale every vector that is read to unit length, after the slice.
    """

    shards: Sequence[npt.NDArray[Any]] = field(repr=False)
    places: npt.NDArray[np.int64] = field(repr=False)
    width: int
    normalised: bool

    def __len__(self) -> int:
        return len(self.places)

    def truncated(self, width: int) -> Embeddings:
        """Return the first `width` dimensions of the same vectors, then normalised."""
        return replace(self, width=width, normalised=True)

    def rows(self, rows: npt.NDArray[np.integer]) -> Embeddings:
        """Return some rows of the same vectors."""
        return replace(self, places=self.places[rows])

    def take(self, rows: npt.NDArray[np.integer]) -> Vectors:
        """Return the vectors of some rows, float32 [len(rows), width]."""
        places = self.places[rows]
        ends = np.cumsum([len(shard) for shard in self.shards])
        owners = np.searchsorted(ends, places, side="right")
        vectors = np.empty((len(places), self.width), dtype=np.float32)
        for owner in np.unique(owners):
            shard = self.shards[owner]
            mine = owners == owner
            local = places[mine] - (ends[owner] - len(shard))
            vectors[mine] = _rows(shard, local)[:, : self.width]
        return normalise(vectors) if self.normalised else vectors

    def block(self, start: int, stop: int) -> Vectors:
        """Return the vectors of consecutive rows, float32 [stop - start, width]."""
        return self.take(np.arange(start, stop))


def normalise(vectors: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Scale rows to unit length; a zero vector (an empty text) stays zero.

    >>> normalise(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    norms[norms == 0] = 1
    scaled: npt.NDArray[_Float] = vectors / norms
    return scaled


def _rows(shard: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Read rows; a consecutive range is a slice, which does not copy the memory map twice."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return shard[rows[0] : rows[0] + len(rows)]
    return shard[rows]
