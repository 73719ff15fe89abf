"""Duplicates: documents with nearly the same words, and queries that are documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.collection.texts import normalise
from harness.training.similarity import SAME_DOCUMENT, similar

_MOST_GROUPS = 1000


@dataclass(frozen=True, eq=False)
class Twins:
    """Documents that have nearly the same words as another.

    Attributes:
        similarity: CSR float64 [n_documents, n_documents], 0 where two are not alike.
    """

    similarity: Any

    def of(self, document: int) -> Mapping[int, float]:
        """Return the documents that are like one, with their similarity."""
        return self._by_row.get(document, {})

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """Documents that have a twin, ascending."""
        return np.flatnonzero(np.diff(self.similarity.indptr))

    @cached_property
    def _by_row(self) -> dict[int, dict[int, float]]:
        found: dict[int, dict[int, float]] = {}
        pairs = self.similarity.tocoo()
        columns = (pairs.row.tolist(), pairs.col.tolist(), pairs.data.tolist())
        for document, other, similarity in zip(*columns, strict=True):
            found.setdefault(document, {})[other] = similarity
        return found

    def groups(self) -> list[list[int]]:
        """Return groups of documents that are connected by likeness, the largest first."""
        from scipy.sparse.csgraph import connected_components

        _, labels = connected_components(self.similarity, directed=False)
        order = np.argsort(labels, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
        groups = [part.tolist() for part in parts if len(part) > 1]
        return sorted(groups, key=lambda group: (-len(group), group[0]))[:_MOST_GROUPS]


def find_twins(documents: Sequence[str]) -> Twins:
    """Return which documents share almost all their words, weighted by rarity, with another."""
    from scipy.sparse import coo_array

    near = similar(documents, documents, at_least=SAME_DOCUMENT)
    other = near.left != near.right
    shape = (len(documents), len(documents))
    values = (near.similarity[other], (near.left[other], near.right[other]))
    return Twins(coo_array(values, shape=shape).tocsr())


def queries_in_corpus(collection: Collection) -> list[str]:
    """Return the ids of queries whose text is that of a document."""
    texts = {normalise(text) for text in collection.documents}
    pairs = zip(collection.query_ids, collection.queries, strict=True)
    return [key for key, text in pairs if normalise(text) in texts]
