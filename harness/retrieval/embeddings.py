"""Embeddings: vectors of a list of texts, read in blocks from memory-mapped shards."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors

_Float = TypeVar("_Float", np.float32, np.float64)

# Between the two, squares of float32 and their sums over any width keep their precision.
_SMALL, _LARGE = 1e-15, 1e15
_CACHED = 2**18  # values that a processor's cache holds

ALL_ROWS = slice(None)


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

    def alike(self, others: Embeddings) -> Embeddings:
        """Return vectors of other texts as these are stored: as they are."""
        return others

    def blocks(self, rows: int) -> Iterator[tuple[int, Vectors]]:
        """Yield (first row, the vectors of at most `rows` consecutive rows), not to write to.

        What was read of a file leaves the memory of the process with the next block.
        """
        for start in range(0, len(self), rows):
            stop = min(start + rows, len(self))
            read = self.unscaled(start, stop)
            yield start, read if self._is_as_stored else self.finished(read)
            places = self.places[start:stop]
            for shard, _ in self._holding(int(places.min()), int(places.max()) + 1):
                _release(shard)

    def in_memory(self) -> Embeddings:
        """Return the same vectors as one array."""
        vectors = np.empty((len(self), self.width), dtype=np.float32)
        for start, block in self.blocks(max(1, _CACHED // self.width)):
            vectors[start : start + len(block)] = block
        return Embeddings([vectors], np.arange(len(self)), self.width, normalised=False)

    @property
    def whole(self) -> Vectors | None:
        """The stored vectors as one array in memory, float32 [m, stored width]; None where they
        are in several, in a file, or not float32.
        """
        shard = self.shards[0] if len(self.shards) == 1 else None
        if type(shard) is not np.ndarray or shard.dtype != np.float32:
            return None
        return shard if shard.flags.c_contiguous else None

    @cached_property
    def divisors(self) -> Vectors | None:
        """What each vector of `whole` is divided by where it is read, float32 [m].

        None where vectors are changed in another way, too.
        """
        whole = self.whole
        if whole is None or not self.normalised:
            return None if whole is None else np.ones(len(whole), dtype=np.float32)
        divisors = np.empty(len(whole), dtype=np.float32)
        step = max(1, _CACHED // self.width)
        for start in range(0, len(whole), step):
            block = whole[start : start + step, : self.width]
            norms = divisors[start : start + step]
            norms[:] = _norms(block)
            odd = is_far_from_one(norms)
            if block[odd].any():
                return None
            norms[odd] = 1
        return divisors

    @property
    def _is_as_stored(self) -> bool:
        return not self.normalised

    def take(self, rows: npt.NDArray[np.integer]) -> Vectors:
        """Return the vectors of some rows, float32 [len(rows), width]."""
        return self.finished(self._gathered(self.places[rows]))

    def block(self, start: int, stop: int) -> Vectors:
        """Return the vectors of consecutive rows, float32 [stop - start, width]."""
        return self.finished(self.unscaled(start, stop))

    def finished(self, vectors: Vectors) -> Vectors:
        """Return vectors as they are searched, given as they are stored; never the same array."""
        return unit_length(vectors) if self.normalised else vectors.copy()

    def unscaled(self, start: int, stop: int) -> Vectors:
        """Return consecutive rows as they are stored, float32 [n, width]; not to write to."""
        places = self.places[start:stop]
        if not len(places) or (np.diff(places) != 1).any():
            return self._gathered(places)
        first, last = int(places[0]), int(places[-1]) + 1
        parts = []
        for shard, at in self._holding(first, last):
            part = shard[max(first - at, 0) : last - at, : self.width]
            parts.append(_within_float32(part) if self.normalised else part)
        return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts), dtype=np.float32)

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        """Stored vectors up to the end of each shard."""
        return np.cumsum([len(shard) for shard in self.shards])

    def _holding(self, first: int, last: int) -> Iterator[tuple[npt.NDArray[Any], int]]:
        """Yield the shards that hold stored vectors from `first` to before `last`, and the number
        of each one's first vector.
        """
        bounds = np.searchsorted(self._ends, [first, last - 1], side="right")
        for number in range(bounds[0], bounds[1] + 1):
            shard = self.shards[number]
            yield shard, int(self._ends[number]) - len(shard)

    def _gathered(self, places: npt.NDArray[np.int64]) -> Vectors:
        if len(self.shards) == 1 and not self.normalised:
            found = np.asarray(self.shards[0][places, : self.width], dtype=np.float32)
            _release(self.shards[0])
            return found
        ends = self._ends
        owners = np.searchsorted(ends, places, side="right")
        vectors = np.empty((len(places), self.width), dtype=np.float32)
        for owner in np.unique(owners):
            shard = self.shards[owner]
            mine = owners == owner
            rows = shard[places[mine] - (ends[owner] - len(shard))][:, : self.width]
            vectors[mine] = _within_float32(rows) if self.normalised else rows
            _release(shard)
        return vectors


def _release(shard: npt.NDArray[Any]) -> None:
    """Let what was read of a memory-mapped file leave the memory of the process."""
    mapped = getattr(shard, "_mmap", None)
    if mapped is not None and hasattr(mapped, "madvise"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)


def unit_length(vectors: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Scale rows to unit length; a zero vector (an empty text) stays zero.

    >>> unit_length(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    norms = _norms(vectors)[:, None]
    # Squares of such rows overflow or vanish in float32: they are brought near 1 before.
    odd = np.flatnonzero(is_far_from_one(norms[:, 0]))
    if len(odd):
        vectors = vectors.copy()
        largest = np.abs(vectors[odd]).max(axis=1, keepdims=True, initial=0)
        vectors[odd] /= np.where(largest > 0, largest, 1)
        norms[odd] = np.sqrt(np.square(vectors[odd]).sum(axis=1, keepdims=True))
    norms[norms == 0] = 1
    scaled: npt.NDArray[_Float] = vectors / norms
    return scaled


def _norms(vectors: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    with np.errstate(over="ignore", under="ignore"):
        norms: npt.NDArray[_Float] = np.sqrt(np.square(vectors).sum(axis=1))
    return norms


def is_far_from_one(sizes: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Tell which sizes are so large or small, 0 and infinity too, that float32 cannot square them.

    >>> is_far_from_one(np.array([0.0, 1e-20, 1e-9, 1.0, 1e9, 1e20])).tolist()
    [True, True, False, False, False, True]
    """
    return ~((sizes > _SMALL) & (sizes < _LARGE))


def _within_float32(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Divide rows that float32 cannot hold by their largest value; unit length is not changed."""
    if rows.dtype.kind != "f" or rows.dtype.itemsize <= 4:
        return rows
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    odd = is_far_from_one(largest) & (largest > 0)
    return np.where(odd, rows / np.where(odd, largest, 1), rows) if odd.any() else rows
