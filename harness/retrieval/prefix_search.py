"""Prefix search: the nearest documents at several widths of the same vectors, in one pass.

The inner products of a prefix are those of the shorter prefix and those of the columns between, so
a product of matrices is taken once for the widest and read off at each width. As in
`harness.retrieval.search`, this proposes, and float64 settles.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Vectors
from harness.environment import cpu_threads, vector_memory
from harness.retrieval.device_search import search_on, upload
from harness.retrieval.embeddings import Embeddings, is_far_from_one
from harness.retrieval.search import Neighbours, Search, best_engine, more_than, search, settle
from harness.runs.run import Run
from harness.stage import Context, Keyed, Work
from harness.store import Store

# Scores of a block of documents for a block of queries stay in a processor's cache.
_BLOCK, _QUERIES = 2048, 128


@dataclass(frozen=True, eq=False)
class SearchPrefixes(Keyed):
    """Stage: the runs of several searches that differ in their width alone.

    Attributes:
        searches: of the same vectors, at ascending widths.
    """

    searches: tuple[Search, ...]

    @property
    def label(self) -> str:
        """What is done."""
        return f"search {len(self.searches)} widths of {self.searches[-1].name}"

    def is_done(self, store: Store) -> bool:
        """Tell whether at most one search is left, which does its work itself."""
        return sum(not search.is_done(store) for search in self.searches) <= 1

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return nothing to wait for."""
        return Work()

    def run(self, context: Context) -> None:
        """Search at every width that is left, and store the runs."""
        left = [search for search in self.searches if not search.is_done(context.store)]
        sides = [search.space.read(context.store) for search in left]
        started = time.perf_counter()
        runs = search_prefixes(sides, left[0].depth, left[0].forbidden, device=context.device)
        seconds = (time.perf_counter() - started) / len(left)
        for each, run in zip(left, runs, strict=True):
            each.put(context, run, seconds)


def together(searches: Sequence[Search], store: Store) -> list[SearchPrefixes]:
    """Return the searches that differ in their width alone, together, if there are several."""
    groups: dict[object, dict[int, Search]] = {}
    for each in searches:
        space = each.space
        if space.coarser is None:
            sides = [side.key(store) or id(side) for side in (space.documents, space.queries)]
            place = (*sides, each.collection_key, each.depth)
            groups.setdefault(place, {}).setdefault(space.width or 2**31, each)
    return [
        SearchPrefixes(tuple(group[width] for width in sorted(group)))
        for group in groups.values()
        if len(group) > 1
    ]


def search_prefixes(
    sides: Sequence[tuple[Embeddings, Embeddings]],
    depth: int,
    forbidden: Rows | None,
    *,
    device: str = "cpu",
) -> list[Run]:
    """Return the runs of several searches, each equal to that of `search`.

    Args:
        sides: documents and queries of each, the same vectors at ascending widths.
        depth: ranks.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1; or None.
        device: torch's name of it.
    """
    if any(shard.dtype.itemsize > 4 for shard in sides[-1][0].shards):  # float32 may not hold them
        return [search(*pair, depth=depth, forbidden=forbidden, device=device) for pair in sides]
    if device != "cpu":
        resident = upload(sides[-1][0], device)
        return [
            search_on(device, *pair, depth=depth, forbidden=forbidden, resident=resident)
            for pair in sides
        ]
    documents, queries = (replace(side, normalised=False) for side in sides[-1])
    if 4 * len(documents) * documents.width <= vector_memory():
        documents = documents.in_memory()
    sides = [
        (replace(documents, width=each.width, normalised=each.normalised), asked)
        for each, asked in sides
    ]
    depth = min(depth, len(documents))
    fetch = min(more_than(depth), len(documents))
    proposals = _propose(documents, queries.block(0, len(queries)), sides, fetch)
    if proposals is None:
        return [search(*pair, depth=depth, forbidden=forbidden) for pair in sides]
    return [
        _settled(*pair, proposal, depth=depth, forbidden=forbidden)
        for pair, proposal in zip(sides, proposals, strict=True)
    ]


def _settled(
    documents: Embeddings,
    queries: Embeddings,
    proposal: tuple[Neighbours, float],
    *,
    depth: int,
    forbidden: Rows | None,
) -> Run:
    """Settle a proposal; queries for which it may be too short are searched alone."""
    if forbidden is None:
        forbidden = np.full(len(queries), -1, dtype=np.int32)
    asked = queries.block(0, len(queries))
    run, safe = settle(documents, asked, *proposal, depth=depth, forbidden=forbidden)
    left = np.flatnonzero(~safe)
    if len(left):
        again = search(documents, queries.rows(left), depth=depth, forbidden=forbidden[left])
        run.documents[left], run.scores[left] = again.documents, again.scores
    return run


def _propose(
    documents: Embeddings,
    queries: Vectors,
    sides: Sequence[tuple[Embeddings, Embeddings]],
    fetch: int,
) -> list[tuple[Neighbours, float]] | None:
    """Return the `fetch` best rows at each width, with the norm of the longest document.

    None where FAISS is missing, or squares of some vector overflow or vanish in float32.
    """
    if best_engine() != "faiss-cpu" or not fetch or not len(queries):
        return None
    from threadpoolctl import threadpool_limits

    widths = [each.width for each, _ in sides]
    asked = _norms(queries, widths)
    if asked is None:
        return None
    heaps = [_Heaps(len(queries), fetch) for _ in sides]
    longest = np.zeros(len(sides))
    # Each thread takes queries of its own; threads within a product would wait for each other.
    with threadpool_limits(1), ThreadPoolExecutor(cpu_threads()) as threads:
        for start, block in documents.blocks(_BLOCK):
            norms = _norms(block, widths)
            if norms is None:
                return None
            longest = np.maximum(longest, norms.max(axis=1))
            inverse = (1 / np.where(norms > 0, norms, 1)).astype(np.float32)
            score = partial(_score, queries, sides, heaps, block, start, inverse)
            list(threads.map(score, range(0, len(queries), _QUERIES)))
    found = []
    for (each, side), heap, lengths, most in zip(sides, heaps, asked, longest, strict=True):
        rows, scores = heap.ordered()
        if side.normalised:
            scores = scores / np.where(lengths > 0, lengths, 1).astype(np.float32)[:, None]
        found.append((Neighbours(rows, scores), 1.0 if each.normalised else float(most)))
    return found


def _score(
    queries: Vectors,
    sides: Sequence[tuple[Embeddings, Embeddings]],
    heaps: Sequence[_Heaps],
    block: Vectors,
    start: int,
    inverse: Vectors,
    first: int,
) -> None:
    """Consider a block of documents for some queries at every width.

    Args:
        queries: float32 [n_queries, width].
        sides: documents and queries at each width.
        heaps: of each width.
        block: float32 [n, width] documents.
        start: row of the first.
        inverse: float32 [len(sides), n], what brings their prefixes to unit length.
        first: row of the first query.
    """
    import faiss
    from scipy.linalg.blas import sgemm

    faiss.omp_set_num_threads(1)  # of this thread
    some, left = queries[first : first + _QUERIES], 0
    products: Any = np.zeros((len(block), len(some)), dtype=np.float32, order="F")
    for (each, _), heap, scale in zip(sides, heaps, inverse, strict=True):
        columns = slice(left, each.width)
        products = sgemm(
            1.0,
            block[:, columns].T,
            some[:, columns].T,
            trans_a=True,
            beta=1.0,
            c=products,
            overwrite_c=True,
        )
        left = each.width
        heap.add(products.T * (scale if each.normalised else np.float32(1)), first, start)


def _norms(vectors: Vectors, widths: Sequence[int]) -> npt.NDArray[np.float64] | None:
    """Return the norm of every row's prefixes, float64 [len(widths), n].

    None where the squares of a row that is not zero overflow or vanish in float32.
    """
    norms = np.empty((len(widths), len(vectors)))
    squares, left = np.zeros(len(vectors)), 0
    for place, width in enumerate(widths):
        part = vectors[:, left:width].astype(np.float64)
        squares += np.einsum("ij,ij->i", part, part)
        norms[place], left = np.sqrt(squares), width
    return None if (is_far_from_one(norms) & (norms != 0)).any() else norms


class _Heaps:
    """The best rows of each query so far, kept by FAISS.

    Args:
        n_queries: their number.
        fetch: rows kept of each.
    """

    def __init__(self, n_queries: int, fetch: int) -> None:
        self._scores = np.empty((n_queries, fetch), dtype=np.float32)
        self._rows = np.empty((n_queries, fetch), dtype=np.int64)
        self._of(0, n_queries).heapify()

    def add(self, scores: Vectors, first: int, start: int) -> None:
        """Consider documents.

        Args:
            scores: float32 [q, n], contiguous.
            first: row of the first query.
            start: row of the first document.
        """
        import faiss

        queries, documents = scores.shape
        self._of(first, first + queries).addn(documents, faiss.swig_ptr(scores), start)

    def ordered(self) -> tuple[Rows, Vectors]:
        """Return rows and scores, best first; nothing can be added afterwards."""
        self._of(0, len(self._rows)).reorder()
        return self._rows.astype(np.int32), self._scores

    def _of(self, first: int, stop: int) -> Any:
        import faiss

        heap = faiss.float_minheap_array_t()
        heap.nh, heap.k = stop - first, self._rows.shape[1]
        heap.val = faiss.swig_ptr(self._scores[first:stop])
        heap.ids = faiss.swig_ptr(self._rows[first:stop])
        return heap
