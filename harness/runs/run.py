"""Run: what a candidate returned on a collection, in one total order fixed at creation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SIGN_BIT = np.uint32(1 << 31)
_WORD = np.uint64(32)
_NO_KEY = np.uint64(0)
_LISTS = 16_384  # compared at a time


@dataclass(frozen=True)
class Run:
    """A ranking per query: score descending, then document id descending, as trec_eval orders.

    Attributes:
        documents: int32 [n_queries, k], rows of the collection's documents, best first; short
            lists end in -1.
        scores: float32 [n_queries, k], larger is better; 0 where `documents` is -1.
    """

    documents: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]

    @property
    def depth(self) -> int:
        """How many ranks a query can have."""
        return int(self.documents.shape[1])

    def ranks_of(
        self, documents: npt.NDArray[np.integer], *, queries: npt.NDArray[np.integer] | None = None
    ) -> npt.NDArray[np.int64]:
        """Return the rank from 1 of every document, int64 [n, k]; 0 where the run does not hold it.

        >>> run = Run(np.array([[4, 2, -1]], np.int32), np.array([[2, 1, 0]], np.float32))
        >>> run.ranks_of(np.array([[2, 3, 4, -1]]))
        array([[2, 0, 1, 0]])

        Args:
            documents: [n, k] rows; -1 is an empty place.
            queries: [n], in whose ranking; None where they are all queries in order.
        """
        rows = np.arange(len(documents)) if queries is None else queries
        ranks = np.zeros(documents.shape, dtype=np.int64)
        for start in range(0, len(rows), _LISTS):
            part = slice(start, start + _LISTS)
            lists = self.documents[rows[part]]
            for column in range(documents.shape[1]):
                found, places = np.nonzero(lists == documents[part, column, None])
                ranks[start + found, column] = places + 1
        ranks[documents < 0] = 0
        return ranks


def rank(documents: npt.NDArray[np.int32], scores: npt.NDArray[np.floating], *, depth: int) -> Run:
    """Put candidate documents of every query into the total order and cut at `depth`.

    Scores are rounded to float32 first, as trec_eval holds them: what ties there ties here. A
    collection's rows ascend by document id, so the larger row wins a tie.

    Args:
        documents: [n_queries, m] rows, each at most once per query; -1 marks an empty place.
        scores: [n_queries, m].
        depth: ranks to keep; the run has fewer columns where m is smaller.

    Raises:
        ValueError: a score of a real document is NaN or infinite.
    """
    keys = _order_keys(np.asarray(documents, dtype=np.int32), np.asarray(scores))
    return _run(np.sort(keys, axis=1)[:, ::-1][:, :depth])


def rank_entries(
    queries: npt.NDArray[np.integer],
    documents: npt.NDArray[np.integer],
    scores: npt.NDArray[np.floating],
    *,
    n_queries: int,
    depth: int,
) -> Run:
    """Put a flat list of (query, document, score) entries into the same total order as `rank`.

    The entries may come in any order; a query without entries has an empty list. Memory grows with
    the entries and with n_queries x depth, never with the longest list.

    Args:
        queries: [n] rows.
        documents: [n] rows, each at most once per query.
        scores: [n].
        n_queries: rows of the run.
        depth: ranks to keep; the run has fewer columns where the longest list is shorter.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    keys = _order_keys(np.asarray(documents, dtype=np.int32), np.asarray(scores))
    order = np.lexsort((~keys, queries))
    keys, queries = keys[order], np.asarray(queries)[order]
    ranks = np.arange(len(keys)) - np.searchsorted(queries, queries)
    kept = ranks < depth
    table = np.full((n_queries, ranks[kept].max(initial=-1) + 1), _NO_KEY)
    table[queries[kept], ranks[kept]] = keys[kept]
    return _run(table)


def _order_keys(
    documents: npt.NDArray[np.int32], scores: npt.NDArray[np.floating]
) -> npt.NDArray[np.uint64]:
    """Return one integer per entry that ascends with (score, row); 0 for an empty place.

    The bits of a float32 ascend with its value once negative numbers are inverted; sorting plain
    integers is several times faster than sorting by two columns.
    """
    with np.errstate(over="ignore"):  # a score beyond float32 becomes infinite and is refused
        rounded = scores.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0: the two are a tie
    empty = documents < 0
    if not np.isfinite(rounded[~empty]).all():
        raise ValueError("a score is NaN or infinite")
    bits = rounded.view(np.uint32)
    ascending = np.where(bits & _SIGN_BIT, ~bits, bits | _SIGN_BIT).astype(np.uint64)
    return np.where(empty, _NO_KEY, ascending << _WORD | documents.astype(np.uint32))


def _run(keys: npt.NDArray[np.uint64]) -> Run:
    """Read rows and scores back out of ordered keys."""
    ascending = (keys >> _WORD).astype(np.uint32)
    bits = np.where(ascending & _SIGN_BIT, ascending ^ _SIGN_BIT, ~ascending)
    empty = keys == _NO_KEY
    return Run(
        documents=np.where(empty, -1, keys.astype(np.uint32).view(np.int32)).astype(np.int32),
        scores=np.where(empty, 0, bits.view(np.float32)).astype(np.float32),
    )
