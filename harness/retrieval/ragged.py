"""Ragged: rows of texts, some more than others, encoded once and stored by shards.

The shards are those of `harness.retrieval.shards`, each of which owns the rows of all of its
texts: what another shard knows is copied and not encoded again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows
from harness.models.ragged import TERM, MultiVectorModel, Ragged, SparseModel, end_to_end
from harness.retrieval.embeddings import ALL_ROWS, Embeddings
from harness.retrieval.encoding import Encode
from harness.retrieval.shards import Draft
from harness.stage import Context, InputMissingError, Keyed
from harness.store import Store


@dataclass(frozen=True)
class StoredRows:
    """The rows of n texts, read from memory-mapped shards.

    Attributes:
        shards: the values of `Ragged`, [m_i] or [m_i, dim] each.
        owners: int64 [n], the shard that holds a text's rows.
        begins: int64 [n], the first of them there.
        sizes: int64 [n], how many they are.
    """

    shards: Sequence[npt.NDArray[Any]] = field(repr=False)
    owners: npt.NDArray[np.int64] = field(repr=False)
    begins: npt.NDArray[np.int64] = field(repr=False)
    sizes: npt.NDArray[np.int64] = field(repr=False)

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def bytes(self) -> int:
        """Bytes of the rows of all texts, and of where each text's begin."""
        row = self.shards[0][:1].nbytes or self.shards[0].dtype.itemsize
        return int(self.sizes.sum()) * row + 8 * len(self)

    def take(self, texts: npt.NDArray[np.integer]) -> Ragged:
        """Return the rows of some texts."""
        places = (self.owners[texts], self.begins[texts], self.begins[texts] + self.sizes[texts])
        rows = [
            self.shards[owner][begin:end]
            for owner, begin, end in zip(*(each.tolist() for each in places), strict=True)
        ]
        return Ragged(np.concatenate([self.shards[0][:0], *rows]), self.sizes[texts])

    def blocks(self, rows: int) -> Iterator[tuple[int, Ragged]]:
        """Yield (first text, consecutive texts of at most so many rows, but one text at least)."""
        ends, start = np.cumsum(self.sizes), 0
        while start < len(self):
            before = ends[start] - self.sizes[start]
            stop = max(start + 1, int(np.searchsorted(ends, before + rows, side="right")))
            yield start, self.take(np.arange(start, stop))
            start = stop


@dataclass(frozen=True, eq=False)
class EncodeRagged(Encode):
    """Stage: the rows of one side of a collection by one model."""

    def embeddings(
        self,
        store: Store,  # noqa: ARG002
        *,
        normalised: bool,  # noqa: ARG002
        rows: slice = ALL_ROWS,  # noqa: ARG002
    ) -> Embeddings:
        """Raise TypeError: there is no one vector a text."""
        raise TypeError(f"{self.name} gives no vectors of whole texts")

    def rows(self, store: Store) -> StoredRows:
        """Return the stored rows.

        Raises:
            InputMissingError: not all are stored.
        """
        kind = self.kind(store)
        found = [store.get(kind, shard.key) for shard in self.texts.shards]
        stored = [artifact for artifact in found if artifact is not None]
        if len(stored) < len(found):
            raise InputMissingError(f"{self.label}: {len(found) - len(stored)} shards are missing")
        sizes = [artifact.array("sizes") for artifact in stored]
        places = self.texts.places
        begins = [np.cumsum(each) - each for each in sizes]
        return StoredRows(
            shards=[np.asarray(artifact.array("values")) for artifact in stored],
            owners=np.repeat(np.arange(len(sizes)), [len(each) for each in sizes])[places],
            begins=np.concatenate(begins)[places],
            sizes=np.concatenate(sizes)[places],
        )

    def _in_order(self, parts: list[Any], order: npt.NDArray[np.int64]) -> Ragged:
        rows = [each for part in parts for each in part.each()]
        return end_to_end([rows[place] for place in order.tolist()])

    def _numbers(self, made: Any) -> Any:
        return made.values["weight"] if made.values.dtype == TERM else made.values

    def _keep(
        self, store: Store, draft: Draft, made: Any, start: int, meta: dict[str, Any]
    ) -> None:
        rows = [] if made is None else made.each()[start : start + len(draft.new)]
        new, known = iter(rows), draft.known.shards
        owners = {number: known[number] for number in set(draft.owners.tolist()) - {-1}}
        held = {
            number: Ragged(np.asarray(each.array("values")), each.array("sizes")).each()
            for number, each in owners.items()
        }
        places = zip(draft.owners.tolist(), draft.rows.tolist(), strict=True)
        whole = end_to_end([held[owner][row] if owner >= 0 else next(new) for owner, row in places])
        arrays = {"values": whole.values, "sizes": whole.sizes, "hashes": draft.shard.hashes}
        store.put(self.kind(store), draft.shard.key, arrays=arrays, meta=meta)


@dataclass(frozen=True, eq=False)
class RaggedSpace(Keyed):
    """Both sides of a collection as rows of texts.

    Attributes:
        documents, queries: the two sides.
    """

    documents: EncodeRagged
    queries: EncodeRagged

    def read(self, store: Store) -> tuple[StoredRows, StoredRows]:
        """Return documents and queries."""
        return self.documents.rows(store), self.queries.rows(store)

    @abstractmethod
    def ready(
        self, store: Store, top: Rows
    ) -> tuple[Callable[[int], npt.NDArray[np.float64]], int]:
        """Return what scores the documents of one query's row, and the bytes of all documents."""

    def scores(self, store: Store, top: Rows) -> npt.NDArray[np.floating]:
        """Return [n_queries, m] scores of each query's documents; of row -1 anything."""
        ask, _ = self.ready(store, top)
        found = [ask(row) for row in range(len(top))]
        return np.array(found, dtype=np.float64).reshape(top.shape)


@dataclass(frozen=True, eq=False)
class EncodeSparse(EncodeRagged):
    """Stage: the weighted terms of one side of a collection.

    Attributes:
        most: terms kept of a text; None takes the model's own.
    """

    most: int | None

    def load(self, context: Context) -> SparseModel:
        """Return the loaded model."""
        weights = self._weights(context.store)
        return context.model(
            ("sparse encoder", weights.key, self.max_length, self.most, context.device),
            lambda: SparseModel(
                weights, device=context.device, max_length=self.max_length, most=self.most
            ),
        )


@dataclass(frozen=True, eq=False)
class EncodeTokens(EncodeRagged):
    """Stage: the token vectors of one side of a collection.

    Attributes:
        pooling: of documents, as of `MultiVectorModel`; None keeps all.
    """

    pooling: float | None

    def load(self, context: Context) -> MultiVectorModel:
        """Return the loaded model."""
        weights = self._weights(context.store)
        return context.model(
            ("multi-vector encoder", weights.key, self.pooling, context.device),
            lambda: MultiVectorModel(weights, device=context.device, pooling=self.pooling),
        )
