"""Run: what a candidate returned on a collection, in one total order fixed at creation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SIGN_BIT = np.uint32(1 << 31)
_WORD = np.uint64(32)
_NO_KEY = np.uint64(0)


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
