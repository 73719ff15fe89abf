"""MaxSim: late interaction, the sum over a query's tokens of the best match among a document's.

As in `harness.retrieval.search`, float32 products of blocks propose somewhat more documents than
are wanted, and float64 settles their order, each pair by itself; a bound on the float32 error
certifies that nothing outside the proposal could have ranked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Vectors
from harness.environment import vector_memory
from harness.models.ragged import Ragged
from harness.retrieval.latency import Prepared, Step
from harness.retrieval.proposal import Proposal
from harness.retrieval.ragged import RaggedSpace, StoredRows
from harness.retrieval.run_stage import SpaceSearch
from harness.retrieval.search import more_than
from harness.runs.run import Run, rank
from harness.stage import Context
from harness.store import Store

_PRODUCTS = 2**24  # of float32, of some query tokens with the tokens of a block


@dataclass(frozen=True, eq=False)
class TokenSpace(RaggedSpace):
    """Both sides of a collection as token vectors.

    Attributes:
        mean: divide the sum by the query's tokens ("meanmaxsim").
    """

    mean: bool

    def pairs(self, documents: StoredRows, query: Vectors, rows: Rows) -> npt.NDArray[np.float64]:
        """Return the score of a query with each of some documents, each alone in float64.

        Args:
            documents: of which some.
            query: float32 [tokens, dim].
            rows: [m] of `documents`; the score of row -1 means nothing.
        """
        wide = query.astype(np.float64)
        some = documents.take(rows.clip(min=0)).each()
        return np.array([maxsim(wide, each.astype(np.float64), mean=self.mean) for each in some])

    def ready(
        self, store: Store, top: Rows
    ) -> tuple[Callable[[int], npt.NDArray[np.float64]], int]:
        """Return what scores the documents of one query's row, and the bytes of all documents."""
        documents, queries = self.read(store)
        asked = queries.take(np.arange(len(queries))).each()
        return lambda row: self.pairs(documents, asked[row], top[row]), documents.bytes


def maxsim(
    query: npt.NDArray[np.float64], document: npt.NDArray[np.float64], *, mean: bool = False
) -> float:
    """Return the score of a pair of texts; 0 where one of them has no token.

    >>> maxsim(np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8]]))
    1.8
    >>> maxsim(np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8]]), mean=True)
    0.9

    Args:
        query: [tokens, dim].
        document: [tokens, dim].
        mean: over the query's tokens in place of the sum.
    """
    if not len(query) or not len(document):
        return 0.0
    best = (query @ document.T).max(axis=1)
    return float(best.mean() if mean else best.sum())


@dataclass(frozen=True, eq=False)
class TokenSearch(SpaceSearch):
    """Stage: a run by the score with every document."""

    space: TokenSpace

    def produce(self, context: Context) -> Run:
        """Search."""
        documents, queries = self.space.read(context.store)
        return search_tokens(
            self.space, documents, queries, depth=self.depth, forbidden=self.forbidden
        )


def search_tokens(
    space: TokenSpace,
    documents: StoredRows,
    queries: StoredRows,
    *,
    depth: int,
    forbidden: Rows | None = None,
    block_rows: int | None = None,
) -> Run:
    """Return the `depth` best documents of each query, best first.

    Args:
        space: how they are compared.
        documents: of the collection.
        queries: of the collection.
        depth: ranks to return.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1.
        block_rows: tokens of documents that are held at a time; the result does not depend on it.
            None takes what `vector_memory` allows.
    """
    depth = min(depth, len(documents))
    asked = queries.take(np.arange(len(queries)))
    if forbidden is None:
        forbidden = np.full(len(queries), -1, dtype=np.int32)
    held = block_rows or max(1, vector_memory() // (8 * documents.shards[0].shape[1]))
    found = np.full((len(queries), depth), -1, dtype=np.int32)
    scores = np.zeros((len(queries), depth), dtype=np.float32)
    left, fetch = np.arange(len(queries)), more_than(depth)
    texts = asked.each()
    while len(left):
        fetch = min(fetch, len(documents))
        near = _propose(documents, [texts[row] for row in left], fetch, held)
        unsafe = []
        for place, row in enumerate(left.tolist()):
            rows = near.rows[place]
            exact = space.pairs(documents, texts[row], rows)
            kept = np.where(rows == forbidden[row], -1, rows)
            best = rank(kept[None], exact[None], depth=depth)
            found[row], scores[row] = best.documents[0], best.scores[0]
            last = float(near.last[place])
            if fetch < len(documents) and not _is_safe(space, texts[row], best, last, near.longest):
                unsafe.append(row)
        left, fetch = np.array(unsafe, dtype=np.int64), 2 * fetch
    return Run(documents=found, scores=scores)


def _is_safe(space: TokenSpace, query: Vectors, best: Run, last: float, longest: float) -> bool:
    """Tell whether certainly no document outside a proposal ranks.

    Args:
        space: how they are compared.
        query: float32 [tokens, dim].
        best: its settled documents.
        last: no document that was not proposed has a larger sum in float32.
        longest: norm of a document's token, at most.
    """
    # |float32 product - exact| <= dim * 2^-24 * |q| * |x| for each token, and as much for the sum.
    sizes = np.linalg.norm(query, axis=1).sum()
    error = (query.shape[1] + len(query) + 32) * 2.0**-24 * sizes * longest
    scale = max(len(query), 1) if space.mean else 1
    return bool(best.documents[0, -1] >= 0 and best.scores[0, -1] * scale > last + 2 * error)


def _propose(documents: StoredRows, queries: list[Vectors], fetch: int, held: int) -> Proposal:
    """Return the `fetch` best documents of each query by sums in float32."""
    rows = np.full((len(queries), 0), -1, dtype=np.int32)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    longest = 0.0
    for start, block in documents.blocks(held):
        values = block.values
        longest = max(longest, float(np.sqrt(np.einsum("ij,ij->i", values, values).max(initial=0))))
        sums = _sums(block, queries)
        places = np.broadcast_to(np.arange(len(block), dtype=np.int32) + start, sums.shape)
        rows, scores = np.concatenate([rows, places], 1), np.concatenate([scores, sums], 1)
        if rows.shape[1] > fetch:
            best = np.argpartition(-scores, fetch - 1, axis=1)[:, :fetch]
            rows, scores = np.take_along_axis(rows, best, 1), np.take_along_axis(scores, best, 1)
    return Proposal(rows, scores.min(axis=1, initial=np.inf), longest)


def _sums(block: Ragged, queries: list[Vectors]) -> Vectors:
    """Return the sum of the best products of each query with each document, float32 [q, n]."""
    sums = np.zeros((len(queries), len(block)), dtype=np.float32)
    real = np.flatnonzero(block.sizes)
    if not len(real):
        return sums
    starts = (block.ends - block.sizes)[real]
    for row, query in enumerate(queries):
        sums[row, real] = _best(query, block.values, starts)
    return sums


def _best(query: Vectors, tokens: Vectors, starts: npt.NDArray[np.int64]) -> Vectors:
    """Return a query's sums with documents whose tokens start at these rows, float32 [n]."""
    sums = np.zeros(len(starts), dtype=np.float32)
    step = max(1, _PRODUCTS // max(len(tokens), 1))
    for first in range(0, len(query), step):
        products = query[first : first + step] @ tokens.T
        sums += np.maximum.reduceat(products, starts, axis=1).sum(axis=0)
    return sums


@dataclass(frozen=True, eq=False)
class SearchTokens(Step):
    """Step: one query against the tokens of all documents, held in memory as a server would."""

    doing = "searching"

    space: TokenSpace
    depth: int

    def prepare(self, context: Context) -> Prepared:
        """Build the index."""
        documents, queries = self.space.read(context.store)
        index = documents.take(np.arange(len(documents)))
        asked = queries.take(np.arange(len(queries))).each()
        last = min(self.depth, len(documents)) - 1

        def ask(row: int) -> object:
            return np.argpartition(-_sums(index, [asked[row]])[0], last)[: last + 1]

        return Prepared(ask, documents.bytes)
