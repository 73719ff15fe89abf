"""Shards: vectors of one model as they are stored, where a text that is known is not stored again.

A shard owns the vectors of its new texts. Most of the others it borrows from one other shard of the
same space, usually what it was before a text changed; what only further shards own is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.artifact import Artifact
from harness.store import Store

Hashes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_LEAST_BORROWED = 0.5  # of a shard's texts; fewer are copied, so a store never holds much twice
_TEXTS_AT_ONCE = 1024


class TextShard(NamedTuple):
    """Texts that are stored together.

    Attributes:
        key: of their content.
        texts: n of them.
        hashes: uint8 [n, 16].
    """

    key: str
    texts: Sequence[str]
    hashes: Hashes


class StoredShard(NamedTuple):
    """A shard that is whole in the store.

    Attributes:
        own: its artifact.
        lender: the one that owns the vectors that it borrows; None where it borrows none.
    """

    own: Artifact
    lender: Artifact | None


class Known(NamedTuple):
    """Where the vectors of texts are stored.

    Attributes:
        hashes: void [n], sorted, of the texts.
        owners: int64 [n], number of the shard that owns the vector.
        rows: int64 [n], its row there.
        shards: that own vectors.
    """

    hashes: npt.NDArray[np.void]
    owners: Places
    rows: Places
    shards: Sequence[Artifact]

    def find(self, hashes: Hashes) -> tuple[Places, Places]:
        """Return the shard's number and the row for texts, int64 [m] each; -1 where unknown.

        Args:
            hashes: uint8 [m, 16].
        """
        if not len(self.hashes):
            nowhere = np.full(len(hashes), -1)
            return nowhere, nowhere
        wanted = _as_void(hashes)
        found = np.minimum(np.searchsorted(self.hashes, wanted), len(self.hashes) - 1)
        is_known = self.hashes[found] == wanted
        return np.where(is_known, self.owners[found], -1), np.where(is_known, self.rows[found], -1)


_NOWHERE = np.empty(0, dtype=np.int64)
NOTHING_KNOWN = Known(np.empty(0, dtype="V16"), _NOWHERE, _NOWHERE, ())


class Draft(NamedTuple):
    """A shard that is to be stored.

    Attributes:
        shard: its texts.
        owners, rows: int64 [n], of `Known`, where each vector lies; -1 where it is to be made.
        known: where that is.
    """

    shard: TextShard
    owners: Places
    rows: Places
    known: Known

    @property
    def new(self) -> Places:
        """Texts whose vectors are to be made, int64 [m]."""
        return np.flatnonzero(self.owners < 0)

    @property
    def lenders(self) -> set[str]:
        """Keys of the stored shards that own the other vectors."""
        owners = np.unique(self.owners[self.owners >= 0]).tolist()
        return {self.known.shards[owner].path.name for owner in owners}

    def put(self, store: Store, kind: str, made: Vectors, meta: dict[str, Any]) -> None:
        """Store the shard.

        Args:
            store: where.
            kind: of the space.
            made: float [m, width], vectors of `new`; where there are none, their width is any.
            meta: what is told about making them.
        """
        hashes, key = self.shard.hashes, self.shard.key
        counts = np.bincount(self.owners[self.owners >= 0], minlength=1)
        lender = int(counts.argmax())
        lends = (self.owners == lender) & (counts[lender] >= _LEAST_BORROWED * len(self.owners))
        copied = np.flatnonzero((self.owners >= 0) & ~lends)
        copies = [
            self.known.shards[self.owners[row]].array("vectors")[self.rows[row]] for row in copied
        ]
        owned = np.concatenate([self.new, copied])
        if not len(self.new):
            made = self.known.shards[self.owners[0]].array("vectors")[:0]
        vectors = np.concatenate([made, np.array(copies, dtype=made.dtype)]) if copies else made
        arrays: dict[str, npt.NDArray[Any]] = {"vectors": vectors, "hashes": hashes[owned]}
        if len(owned) < len(self.owners) or len(copied):
            places = np.empty(len(self.owners), dtype=np.int64)
            places[owned] = np.arange(len(owned))
            places[lends] = len(owned) + self.rows[lends]
            arrays["places"] = places
        if lends.any():
            meta = {**meta, "lender": self.known.shards[lender].path.name}
        there = store.get(kind, key) is not None  # whole, but what it borrowed is gone
        store.put(kind, key, arrays=arrays, meta=meta, replaces=there)


class Portion(NamedTuple):
    """Texts that are encoded together.

    Attributes:
        texts: whose vectors are to be made, those of the drafts' `new` one after the other.
        drafts: of the shards that they belong to.
    """

    texts: Sequence[str]
    drafts: Sequence[Draft]


def portions(shards: Sequence[TextShard], known: Known) -> Iterator[Portion]:
    """Yield what is to be encoded for shards that are not stored.

    A shard of which nothing is known is encoded alone, so that its vectors, down to their last
    bits, do not depend on what else is stored; the new texts of others are encoded together.
    """
    texts: list[str] = []
    drafts: list[Draft] = []
    for shard in shards:
        draft = Draft(shard, *known.find(shard.hashes), known)
        new = draft.new
        if len(new) == len(shard.texts):
            yield Portion(shard.texts, [draft])
            continue
        if len(texts) + len(new) > _TEXTS_AT_ONCE:
            yield Portion(texts, drafts)
            texts, drafts = [], []
        texts += [shard.texts[row] for row in new.tolist()]
        drafts.append(draft)
    if drafts:
        yield Portion(texts, drafts)


def read_known(store: Store, kind: str, keys: Sequence[str] | None = None) -> Known:
    """Return where the stored vectors of a space lie.

    Args:
        store: that holds them.
        kind: of the space.
        keys: of the shards that are looked at, in their order; None takes all.
    """
    if keys is None:
        found: Sequence[Artifact | None] = store.list(kind)
    else:
        store.bring(kind, keys)
        found = [store.get(kind, key) for key in keys]
    shards = [each for each in found if each is not None and "hashes.npy" in each.meta["files"]]
    hashes = [shard.array("hashes") for shard in shards]
    if not hashes:
        return NOTHING_KNOWN
    sizes = [len(each) for each in hashes]
    joined = _as_void(np.concatenate(hashes))
    order = np.argsort(joined, kind="stable")
    owners = np.repeat(np.arange(len(shards)), sizes)[order]
    rows = np.concatenate([np.arange(size) for size in sizes])[order]
    return Known(joined[order], owners, rows, shards)


def is_stored(store: Store, kind: str, key: str) -> bool:
    """Tell whether a shard is there, and what it borrows, without fetching either."""
    return _shard(store.seen, kind, key) is not None


def find_shard(store: Store, kind: str, key: str) -> StoredShard | None:
    """Return a shard; None where it is absent, or what it borrows is."""
    return _shard(store.get, kind, key)


def _shard(find: Callable[[str, str], Artifact | None], kind: str, key: str) -> StoredShard | None:
    own = find(kind, key)
    name = None if own is None else own.meta.get("lender")
    lender = None if name is None else find(kind, name)
    return (
        None if own is None or (name is not None and lender is None) else StoredShard(own, lender)
    )


def join_shards(shards: Sequence[StoredShard]) -> tuple[list[npt.NDArray[Any]], Places]:
    """Return the arrays of vectors of shards, and where each text's stands through all of them.

    Returns:
        float [m_i, width] each, memory-mapped; and int64 [n], texts in the order of the shards.
    """
    arrays: list[npt.NDArray[Any]] = []
    starts: dict[str, int] = {}
    length = 0
    for artifact in (each for shard in shards for each in shard if each is not None):
        if artifact.path.name not in starts:
            starts[artifact.path.name] = length
            arrays.append(artifact.array("vectors"))
            length += len(arrays[-1])
    parts = [_places(shard, starts) for shard in shards]
    return arrays, np.concatenate(parts)


def _places(shard: StoredShard, starts: dict[str, int]) -> Places:
    own, start = shard.own, starts[shard.own.path.name]
    n_own = len(own.array("vectors"))
    if "places.npy" not in own.meta["files"]:
        return np.arange(start, start + n_own)
    places = own.array("places")
    lent = 0 if shard.lender is None else starts[shard.lender.path.name]
    return np.where(places < n_own, places + start, places - n_own + lent)


def _as_void(hashes: Hashes) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(hashes).view("V16").reshape(-1)
