"""Proposal: the documents that may rank, by products of matrices in float32.

One pass over the documents proposes at several widths: the products of the first dimensions are
part of those of more. Of each query and width the best so far are kept, and a document that scores
less than the worst of them costs one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from harness.arrays import Rows, Vectors
from harness.environment import cpu_threads
from harness.retrieval.embeddings import Embeddings

_BLOCK_BYTES = 2**26
_TILE = 1024  # documents, and at most `_QUERIES` queries, whose products stay in a cache
_QUERIES = 128
_KEPT_BYTES = 2**28  # of the best documents so far


class Proposal(NamedTuple):
    """The documents that may rank.

    Attributes:
        rows: int32 [q, m], in no order.
        last: float32 [q], no document that was left out scores more by float32 products.
        longest: norm of a document, at most.
    """

    rows: Rows
    last: Vectors
    longest: float


def propose(
    documents: Embeddings,
    queries: Vectors,
    fetch: int,
    *,
    widths: Sequence[int] = (),
    scales: Vectors | None = None,
    block_rows: int | None = None,
) -> list[Proposal]:
    """Return the `fetch` best rows of each query at each width, by float32 products.

    Args:
        documents: n rows.
        queries: float32 [q, dim].
        fetch: rows; all where there are no more.
        widths: leading dimensions, ascending up to dim; that alone where none are given.
        scales: float32 [n_widths, n], by which products are multiplied; None multiplies nothing.
        block_rows: documents read at a time; None takes 64 MB.
    """
    widths = widths or [documents.width]
    fetch = min(fetch, len(documents))
    block_rows = block_rows or max(1, _BLOCK_BYTES // (4 * documents.width))
    rows = np.empty((len(widths), len(queries), fetch), dtype=np.int32)
    last = np.empty((len(widths), len(queries)), dtype=np.float32)
    some = max(1, _KEPT_BYTES // (8 * len(widths) * _room(fetch)))
    longest = 0.0
    # Each thread takes queries of its own; threads within a product would wait for each other.
    with threadpool_limits(1), ThreadPoolExecutor(cpu_threads()) as threads:
        for start in range(0, len(queries), some):
            asked = queries[start : start + some]
            best = _Best(widths, asked, fetch)
            step = min(_QUERIES, -(-len(asked) // cpu_threads()))
            places = [slice(at, at + step) for at in range(0, len(asked), step)]
            for first, block in documents.blocks(block_rows):
                longest = max(longest, float(np.sqrt(np.einsum("ij,ij->i", block, block).max())))
                mine = None if scales is None else scales[:, first : first + len(block)]
                list(threads.map(partial(best.consider, block, mine, first), places))
            list(threads.map(best.finish, places))
            rows[:, start : start + some] = best.rows[:, :, :fetch]
            last[:, start : start + some] = best.least
    return [Proposal(*each, longest) for each in zip(rows, last, strict=True)]


def _room(fetch: int) -> int:
    """Return how many of the best documents are noted before they are cut to `fetch`."""
    from harness.retrieval.kernels import GROUP

    return 2 * fetch + GROUP


class _Best:
    """The best documents of each query so far, at each width.

    Attributes:
        rows: int32 [n_widths, q, m].
        least: float32 [n_widths, q], the score of the last of them; -inf while all enter.

    Args:
        widths: leading dimensions, ascending.
        queries: float32 [q, dim].
        fetch: documents that are kept in the end.
    """

    def __init__(self, widths: Sequence[int], queries: Vectors, fetch: int) -> None:
        self._widths, self._queries, self._fetch = widths, queries, fetch
        shape = (len(widths), len(queries))
        self.rows = np.empty((*shape, _room(fetch)), dtype=np.int32)
        self.least = np.full(shape, -np.inf, dtype=np.float32)
        self._scores = np.empty(self.rows.shape, dtype=np.float32)
        self._counts = np.zeros(shape, dtype=np.int64)

    def consider(self, block: Vectors, scales: Vectors | None, first: int, place: slice) -> None:
        """Enter the documents of a block.

        Args:
            block: float32 [n, dim].
            scales: float32 [n_widths, n], or None.
            first: row of the first document.
            place: of the queries.
        """
        from harness.retrieval.kernels import consider

        queries = self._queries[place]
        room = np.empty((2, len(queries) * _TILE), dtype=np.float32)
        ones = np.ones(_TILE, dtype=np.float32)
        for start in range(0, len(block), _TILE):
            part, left = block[start : start + _TILE], 0
            size = len(queries) * len(part)
            total, more = room[:, :size].reshape(2, len(queries), len(part))
            for number, width in enumerate(self._widths):
                columns = slice(left, width)
                out = more if left else total
                np.matmul(queries[:, columns], part[:, columns].T, out=out)
                if left:
                    total += more
                left = width
                scale = ones if scales is None else scales[number, start : start + _TILE]
                consider(
                    total,
                    scale[: len(part)],
                    first + start,
                    self._scores[number, place],
                    self.rows[number, place],
                    self._counts[number, place],
                    self.least[number, place],
                    self._fetch,
                )

    def finish(self, place: slice) -> None:
        """Move the best `fetch` documents of some queries to the front.

        Raises:
            ValueError: scores of others are NaN or infinite.
        """
        from harness.retrieval.kernels import keep_best

        spare = np.empty(self.rows.shape[2], dtype=np.float32)
        for number, row in np.ndindex(self._counts[:, place].shape):
            query = place.start + row
            scores, count = self._scores[number, query], self._counts[number, query]
            if count < self._fetch:
                raise ValueError("a score is NaN or infinite")
            self.least[number, query] = keep_best(
                scores, self.rows[number, query], spare, count, self._fetch
            )
