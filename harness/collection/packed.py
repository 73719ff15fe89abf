"""Packed texts: many texts as one array of bytes that lies in the store, decoded as they are read.

A corpus of a million documents is planned, audited and keyed without any of its texts in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices
from harness.hashing import text_hashes

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PackedTexts(Sequence[str]):
    """Texts that are read where they lie.

    Attributes:
        body: uint8, all texts in UTF-8 one after the other.
        ends: int64 [n_packed], where each ends in `body`.
        all_hashes: uint8 [n_packed, 16], of `text_hashes`.
        rows: int64 [n], which of the packed texts these are, in order.
    """

    body: Bytes = field(repr=False)
    ends: Indices = field(repr=False)
    all_hashes: Bytes = field(repr=False)
    rows: Indices = field(repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[type[PackedTexts], tuple[Bytes, Indices, Bytes, Indices]]:
        """Travel without what was worked out, so that slices share one body at the other end."""
        return PackedTexts, (self.body, self.ends, self.all_hashes, self.rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> PackedTexts: ...
    def __getitem__(self, place: int | slice) -> str | PackedTexts:
        """Return one text, or some of them that stay packed."""
        if isinstance(place, slice):
            return PackedTexts(self.body, self.ends, self.all_hashes, self.rows[place])
        row = int(self.rows[place])
        return _decoded(self._bytes[int(self.ends[row - 1]) if row else 0 : int(self.ends[row])])

    def __iter__(self) -> Iterator[str]:
        stops = self.ends[self.rows].tolist()
        starts = np.where(self.rows > 0, self.ends[self.rows - 1], 0).tolist()
        held = self._bytes
        return (_decoded(held[start:stop]) for start, stop in zip(starts, stops, strict=True))

    def take(self, rows: Indices) -> PackedTexts:
        """Return the texts of some rows, which stay packed."""
        return PackedTexts(self.body, self.ends, self.all_hashes, self.rows[rows])

    @cached_property
    def hashes(self) -> Bytes:
        """One hash a text, uint8 [n, 16]."""
        return self.all_hashes[self.rows]

    @cached_property
    def _bytes(self) -> memoryview:
        return memoryview(self.body.data)  # a slice of it costs a fraction of an array's


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


def unpack(body: Bytes, ends: Indices) -> tuple[str, ...]:
    """Return all texts of `pack`."""
    joined, stops = memoryview(body.data), ends.tolist()
    starts = [0, *stops[:-1]]
    return tuple(_decoded(joined[a:b]) for a, b in zip(starts, stops, strict=False))


def _decoded(body: bytes | memoryview) -> str:
    return str(body, "utf-8", "surrogatepass")
