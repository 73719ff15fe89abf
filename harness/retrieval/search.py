"""Search: the exact nearest documents by inner product, in one total order on every machine.

A ranking must not depend on how it was computed. Matrix products differ in their last bits with
the block size, the number of threads and the device, and leave the order of tied scores open. So
the work is split: float32 products *propose* somewhat more than `depth` documents, block by block;
then the inner products of the proposed are computed again, each pair on its own in float64, and
*settle* the order. A bound on the float32 error certifies that nothing outside the proposal could
have ranked; a query that fails (many duplicates at the border) is proposed a longer list.

One pass over the documents proposes at several widths: the products of the first dimensions are
part of those of more. Of each query and width the best so far are kept, and a document that scores
less than the worst of them costs one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from harness.arrays import Flags, Rows, Values, Vectors
from harness.environment import cpu_threads, vector_memory
from harness.retrieval.device_search import search_on
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import Space
from harness.runs.run import Run, rank
from harness.stage import Context

_BLOCK_BYTES = 2**26
_TILE = 1024  # documents, and at most `_QUERIES` queries, whose products stay in a cache
_QUERIES = 128
_KEPT_BYTES = 2**28  # of the best documents so far
_SETTLE_BYTES = 2**24  # of vectors that a thread gathers
_MARGIN = 32


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


def search(
    documents: Embeddings,
    queries: Embeddings,
    *,
    depth: int,
    forbidden: Rows | None = None,
    block_rows: int | None = None,
    device: str = "cpu",
) -> Run:
    """Return the `depth` nearest documents of each query, best first.

    Args:
        documents: n rows; held in memory where `vector_memory` allows it, else read in blocks.
        queries: rows of the same width; unit length on both sides makes it cosine similarity.
        depth: ranks to return.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1.
        block_rows: documents read at a time; the result does not depend on it. None takes 64 MB.
        device: torch's name of it; a GPU proposes and settles by itself.
    """
    depth = min(depth, len(documents))
    if device != "cpu":
        return search_on(device, documents, queries, depth=depth, forbidden=forbidden)
    vectors = queries.block(0, len(queries))
    if forbidden is None:
        forbidden = np.full(len(queries), -1, dtype=np.int32)
    if documents.whole is None and vector_bytes(documents) <= vector_memory():
        documents = documents.in_memory()
    found = np.full((len(queries), depth), -1, dtype=np.int32)
    scores = np.zeros((len(queries), depth), dtype=np.float32)
    open_queries = np.arange(len(queries))
    fetch = more_than(depth)
    while len(open_queries):
        asked = vectors[open_queries]
        (proposal,) = propose(documents, asked, fetch, block_rows=block_rows)
        settled, safe = settle(
            documents, asked, proposal, depth=depth, forbidden=forbidden[open_queries]
        )
        found[open_queries], scores[open_queries] = settled.documents, settled.scores
        open_queries = open_queries[~safe]
        fetch *= 2
    return Run(documents=found, scores=scores)


def vector_bytes(documents: Embeddings) -> int:
    """Return the memory that vectors take as one array."""
    return 4 * len(documents) * documents.width


def more_than(depth: int) -> int:
    """Return how many documents are proposed where `depth` are wanted."""
    return depth + 1 + max(_MARGIN, depth // 8)


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


def settle(
    documents: Embeddings,
    queries: Vectors,
    proposal: Proposal,
    *,
    depth: int,
    forbidden: Rows,
) -> tuple[Run, Flags]:
    """Order proposed documents by their exact scores.

    Args:
        documents: n rows.
        queries: float32 [q, dim].
        proposal: by products in float32 whose rounding is bounded as that of a plain sum.
        depth: ranks to return.
        forbidden: int32 [q].

    Returns:
        the run; and bool [q], whether certainly no document outside the proposal ranks.
    """
    exact = score_pairs(documents, queries, proposal.rows)
    rows = np.where(proposal.rows == forbidden[:, None], -1, proposal.rows)
    settled = rank(rows, exact, depth=depth)
    if proposal.rows.shape[1] == len(documents):
        return settled, np.ones(len(queries), dtype=np.bool_)
    # |float32 product - exact| <= dim * 2^-24 * |q| * |x|, and the norms are rounded, once for
    # the best document that was not proposed and once more for the rounding of scores to float32.
    error = (documents.width + 32) * 2.0**-24 * np.linalg.norm(queries, axis=1) * proposal.longest
    safe = settled.scores[:, -1] > proposal.last + 2 * error
    return settled, safe & (settled.documents[:, -1] >= 0)


def score_pairs(documents: Embeddings, queries: Vectors, rows: Rows) -> Values:
    """Return the inner product of each query with its own rows, each computed alone in float64.

    Args:
        documents: n rows of the same width.
        queries: float32 [q, dim].
        rows: int32 [q, m] rows of `documents`; the score of row -1 means nothing.

    Returns:
        float64 [q, m]; the same pair gives the same bits in any call, those of numpy's sum of the
        products, which are exact in float64.
    """
    from harness.retrieval.kernels import score_rows, summation

    scores = np.empty(rows.shape, dtype=np.float64)
    whole, divisors = documents.whole, documents.divisors
    leaves = summation(documents.width)
    columns = max(1, _SETTLE_BYTES // (4 * documents.width))
    step = max(1, columns // max(rows.shape[1], 1))

    def score(place: tuple[int, int]) -> None:
        some, left = slice(place[0], place[0] + step), slice(place[1], place[1] + columns)
        mine = rows[some, left].clip(min=0)
        found = np.empty(mine.shape, dtype=np.float64)
        asked = np.ascontiguousarray(queries[some])
        if whole is not None and divisors is not None:
            score_rows(whole, divisors, asked, documents.places[mine], leaves, found)
        else:
            vectors, places = documents.take(mine.reshape(-1)), np.arange(mine.size)
            ones = np.ones(mine.size, dtype=np.float32)
            score_rows(vectors, ones, asked, places.reshape(mine.shape), leaves, found)
        scores[some, left] = found

    places = list(product(range(0, len(queries), step), range(0, rows.shape[1], columns)))
    if len(places) == 1:
        score(places[0])
        return scores
    with ThreadPoolExecutor(cpu_threads()) as threads:
        list(threads.map(score, places))
    return scores


@dataclass(frozen=True, eq=False)
class Search(RunStage):
    """Stage: a run by exact search in a space.

    Attributes:
        space: vectors of both sides.
        collection_key: of the ids, whose order breaks ties.
        depth: ranks.
        forbidden: int32 [n_queries], rows that queries must not be given, or None.
    """

    space: Space
    collection_key: str
    depth: int
    forbidden: Rows | None

    @property
    def label(self) -> str:
        """What is done."""
        return f"search with {self.name}"

    def produce(self, context: Context) -> Run:
        """Search."""
        documents, queries = self.space.read(context.store)
        return search(
            documents,
            queries,
            depth=self.depth,
            forbidden=self.forbidden,
            device=context.device,
        )
