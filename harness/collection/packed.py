"""Packed texts: many texts as one array of bytes that lies in the store, decoded as they are read.

A corpus of a million documents is planned, audited and keyed without any of its texts in memory,
and its ids are found by their hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self, overload

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Indices
from harness.hashing import text_hashes

_AT_ONCE = 16_384  # texts or hashes that are looked at together

Bytes = npt.NDArray[np.uint8]


class Home(Protocol):
    """Where packed texts lie in a store that the processes of other machines see, too."""

    def open(self, rows: Indices) -> PackedTexts:
        """Return the texts of some rows."""


def _reopened(home: Home, rows: Indices) -> Any:
    return home.open(rows)


@dataclass(frozen=True, eq=False)
class PackedTexts(Sequence[str]):
    """Texts that are read where they lie.

    Attributes:
        body: uint8, all texts in UTF-8 one after the other.
        ends: int64 [n_packed], where each ends in `body`.
        all_hashes: uint8 [n_packed, 16], of `text_hashes`.
        rows: int64 [n], which of the packed texts these are, in order.
        home: where all of them lie in a store; None where they do not.
    """

    body: Bytes = field(repr=False)
    ends: Indices = field(repr=False)
    all_hashes: Bytes = field(repr=False)
    rows: Indices = field(repr=False)
    home: Home | None = field(default=None, kw_only=True, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        """Travel as the rows of what lies in a store, else without what was worked out, so that
        slices share one body at the other end.
        """
        if self.home is not None:
            return _reopened, (self.home, self.rows)
        return type(self), tuple(getattr(self, x.name) for x in fields(self) if not x.kw_only)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> str | Self:
        """Return one text, or some of them that stay packed."""
        if isinstance(place, slice):
            return self._at(self.rows[place])
        row = int(self.rows[place])
        return _decoded(self._bytes[int(self.ends[row - 1]) if row else 0 : int(self.ends[row])])

    def __iter__(self) -> Iterator[str]:
        held = self._bytes
        for first in range(0, len(self.rows), _AT_ONCE):
            rows = self.rows[first : first + _AT_ONCE]
            starts = np.where(rows > 0, self.ends[rows - 1], 0).tolist()
            for start, stop in zip(starts, self.ends[rows].tolist(), strict=True):
                yield _decoded(held[start:stop])

    def take(self, rows: Indices) -> Self:
        """Return the texts of some rows, which stay packed."""
        return self._at(self.rows[rows])

    def _at(self, rows: Indices) -> Self:
        """Return some of all the packed texts."""
        return replace(self, rows=rows)

    @property
    def hashes(self) -> Bytes:
        """One hash a text, uint8 [n, 16]."""
        return self.all_hashes[self.rows]

    @cached_property
    def _bytes(self) -> memoryview:
        return memoryview(self.body.data)  # a slice of it costs a fraction of an array's


class HashIndex(NamedTuple):
    """Hashes in ascending order, and the rows that have them; rows of one hash ascend.

    Attributes:
        hashes: uint8 [n, 16].
        rows: int64 [n].
    """

    hashes: Bytes
    rows: Indices

    def find(self, hashes: Bytes) -> Indices:
        """Return the first row with each hash, int64 [m]; -1 where there is none.

        Args:
            hashes: uint8 [m, 16].
        """
        if not len(self.rows):
            return np.full(len(hashes), -1)
        known, found = _as_void(self.hashes), np.full(len(hashes), -1)
        for start in range(0, len(hashes), _AT_ONCE):
            wanted = _as_void(hashes[start : start + _AT_ONCE])
            places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
            is_there = known[places] == wanted
            found[start : start + _AT_ONCE][is_there] = self.rows[places[is_there]]
        return found

    def repeated(self) -> tuple[Indices, Indices]:
        """Return the rows whose hash an earlier row has, ascending, and the first that has it.

        Returns:
            int64 [m] each.
        """
        if not self._is_repeated.any():
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        firsts = self.firsts()
        again = np.flatnonzero(firsts != np.arange(len(firsts)))
        return again, firsts[again]

    def firsts(self) -> Indices:
        """Return the first row with the hash of each row, int64 [n]."""
        starts = np.flatnonzero(np.append(True, ~self._is_repeated)[: len(self.rows)])
        firsts = np.empty_like(self.rows)
        sizes = np.diff(np.append(starts, len(self.rows)))
        firsts[self.rows] = np.repeat(self.rows[starts], sizes)
        return firsts

    def lasts(self) -> Indices:
        """Return the last row with each hash, int64, descending."""
        return np.sort(self.rows[np.append(~self._is_repeated, True)[: len(self.rows)]])[::-1]

    @property
    def _is_repeated(self) -> Flags:
        """Whether the hash after each is the same, bool [n - 1]."""
        known = _as_void(self.hashes)
        return np.asarray(known[1:] == known[:-1])


def index_of(hashes: Bytes) -> HashIndex:
    """Return the index of hashes, uint8 [n, 16]."""
    order = np.argsort(_as_void(hashes), kind="stable")
    return HashIndex(hashes[order], order)


def _as_void(hashes: Bytes) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(hashes).view("V16").reshape(-1)


@dataclass(frozen=True, eq=False)
class PackedIds(PackedTexts):
    """Ids that are read where they lie, and found there.

    Attributes:
        by_hash: where each of `all_hashes` is.
        ascending: int64, of the packed ids, the first row of each, in the order of the ids.
    """

    by_hash: HashIndex = field(repr=False)
    ascending: Indices = field(repr=False)

    def find(self, keys: Sequence[str]) -> Indices:
        """Return the place of each key among these ids, the first of several, int64 [m]; or -1."""
        return self._places[self.by_hash.find(text_hashes(keys))]

    @cached_property
    def _places(self) -> Indices:
        """int64 [n_packed + 1], where each packed id stands among these; at the end -1, as of none.

        The first of several equal ids alone is looked up.
        """
        places = np.full(len(self.ends) + 1, -1)
        places[self.rows] = np.arange(len(self.rows))
        return places


def places_of(ids: Sequence[str], keys: Sequence[str]) -> Indices:
    """Return the place of each key among distinct ids, int64 [m]; -1 where it is absent."""
    if isinstance(ids, PackedIds):
        return ids.find(keys)
    places = {key: place for place, key in enumerate(ids)}
    return np.fromiter((places.get(key, -1) for key in keys), np.int64, len(keys))


def content_hashes(texts: Sequence[str]) -> Bytes:
    """Return `text_hashes` of texts, which packed texts know already."""
    return texts.hashes if isinstance(texts, PackedTexts) else text_hashes(texts)


def size_of(texts: Sequence[str]) -> int:
    """Return the bytes of texts, without reading packed ones; of others their characters."""
    if isinstance(texts, PackedTexts):
        before = np.where(texts.rows > 0, texts.ends[texts.rows - 1], 0)
        return int((texts.ends[texts.rows] - before).sum())
    return sum(map(len, texts))


def take(texts: Sequence[str], rows: Indices) -> Sequence[str]:
    """Return the texts of some rows; packed ones stay packed."""
    if isinstance(texts, PackedTexts):
        return texts.take(rows)
    return tuple(texts[row] for row in rows.tolist())


def pack(texts: Sequence[str]) -> tuple[Bytes, Indices]:
    """Return the bytes of texts one after the other, and where each ends."""
    body, ends = bytearray(), np.empty(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        body += text.encode("utf-8", "surrogatepass")
        ends[row] = len(body)
    return np.frombuffer(body, dtype=np.uint8), ends


def hashed(body: Bytes, ends: Indices) -> PackedTexts:
    """Return the texts of `pack` as they lie, with their hashes."""
    rows = np.arange(len(ends))
    texts = PackedTexts(body, ends, np.empty((0, 16), dtype=np.uint8), rows)
    return replace(texts, all_hashes=text_hashes(texts))


def unpack(body: Bytes, ends: Indices) -> tuple[str, ...]:
    """Return all texts of `pack`."""
    joined, stops = memoryview(body.data), ends.tolist()
    starts = [0, *stops[:-1]]
    return tuple(_decoded(joined[a:b]) for a, b in zip(starts, stops, strict=False))


def _decoded(body: bytes | memoryview) -> str:
    return str(body, "utf-8", "surrogatepass")
