"""Search: the exact nearest documents by inner product, in one total order on every machine.

A ranking must not depend on how it was computed. Matrix products differ in their last bits with
the block size, the number of threads and the device, and leave the order of tied scores open. So
the work is split: float32 products *propose* somewhat more than `depth` documents, block by block;
then the inner products of the proposed are computed again, each pair on its own in float64, and
*settle* the order. A bound on the float32 error certifies that nothing outside the proposal could
have ranked; a query that fails (many duplicates at the border) is proposed a longer list.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np

from harness.arrays import Flags, Rows, Values, Vectors
from harness.environment import cpu_threads, vector_memory
from harness.retrieval.device_search import search_on
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.proposal import Proposal, propose
from harness.retrieval.run_stage import SpaceSearch
from harness.retrieval.space import Space
from harness.runs.run import Run, rank
from harness.stage import Context

_SETTLE_BYTES = 2**24  # of vectors that a thread gathers
_MARGIN = 32


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
class VectorSearch(SpaceSearch):
    """Stage: a run by search in vectors of whole texts."""

    space: Space


@dataclass(frozen=True, eq=False)
class Search(VectorSearch):
    """Stage: a run by exact search in a space."""

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
