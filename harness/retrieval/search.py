"""Search: the exact nearest documents by inner product, in one total order on every machine.

A ranking must not depend on how it was computed. Matrix products differ in their last bits with
the block size, the number of threads and the device, and FAISS leaves the order of tied scores
open. So the work is split: FAISS *proposes* somewhat more than `depth` documents from float32
products, block by block; then the inner products of the proposed are computed again, each pair on
its own in float64, and *settle* the order. A bound on the float32 error certifies that nothing
outside the proposal could have ranked; a query that fails (many duplicates at the border) is
proposed a longer list.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Vectors
from harness.environment import cpu_threads, vector_memory
from harness.retrieval.device_search import search_on
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import Space
from harness.runs.run import Run, rank
from harness.stage import Context

Engine = Literal["faiss-gpu", "faiss-cpu", "torch"]

_BLOCK_BYTES = 2**26
_SETTLE_BYTES = 2**24  # of vectors that a thread gathers
_PRODUCTS = 2**16  # of float64 that stay in a processor's cache
_GPU_LIMIT = 2048  # FAISS selects at most this many neighbours on a GPU
_MARGIN = 32


class Neighbours(NamedTuple):
    """Nearest rows of each query, best first: rows int32 [q, k], scores float32 [q, k]."""

    rows: Rows
    scores: Vectors


FindNearest = Callable[[Vectors, Vectors, int], Neighbours]


def search(
    documents: Embeddings,
    queries: Embeddings,
    *,
    depth: int,
    forbidden: Rows | None = None,
    block_rows: int | None = None,
    engine: Engine | None = None,
    device: str = "cpu",
) -> Run:
    """Return the `depth` nearest documents of each query, best first.

    Args:
        documents: n rows; held in memory where `vector_memory` allows it, else read in blocks.
        queries: rows of the same width; unit length on both sides makes it cosine similarity.
        depth: ranks to return.
        forbidden: int32 [n_queries], a row that the query must not be given, or -1.
        block_rows: documents scored at a time; the result does not depend on it. None takes all in
            memory at once, others in blocks of 64 MB.
        engine: that proposes on a CPU; None takes the best that is installed.
        device: torch's name of it; a GPU proposes and settles by itself.
    """
    depth = min(depth, len(documents))
    if device != "cpu" and engine is None:
        return search_on(device, documents, queries, depth=depth, forbidden=forbidden)
    nearest = _nearest(engine or best_engine())
    vectors = queries.block(0, len(queries))
    if forbidden is None:
        forbidden = np.full(len(queries), -1, dtype=np.int32)
    rows = max(1, _BLOCK_BYTES // (4 * documents.width))
    if 4 * len(documents) * documents.width <= vector_memory():
        documents, rows = documents.in_memory(), max(1, len(documents))
    found = np.full((len(queries), depth), -1, dtype=np.int32)
    scores = np.zeros((len(queries), depth), dtype=np.float32)
    open_queries = np.arange(len(queries))
    fetch = more_than(depth)
    while len(open_queries):
        fetch = min(fetch, len(documents))
        asked = vectors[open_queries]
        proposal, longest = _propose(documents, asked, fetch, block_rows or rows, nearest)
        settled, safe = settle(
            documents, asked, proposal, longest, depth=depth, forbidden=forbidden[open_queries]
        )
        found[open_queries], scores[open_queries] = settled.documents, settled.scores
        open_queries = open_queries[~safe]
        fetch *= 2
    return Run(documents=found, scores=scores)


def more_than(depth: int) -> int:
    """Return how many documents are proposed where `depth` are wanted."""
    return depth + 1 + max(_MARGIN, depth // 8)


def settle(
    documents: Embeddings,
    queries: Vectors,
    proposal: Neighbours,
    longest: float,
    *,
    depth: int,
    forbidden: Rows,
) -> tuple[Run, npt.NDArray[np.bool_]]:
    """Order proposed documents by their exact scores.

    Args:
        documents: n rows.
        queries: float32 [q, dim].
        proposal: by products in float32 whose rounding is bounded as that of a plain sum.
        longest: norm of a document, at most.
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
    error = (documents.width + 32) * 2.0**-24 * np.linalg.norm(queries, axis=1) * longest
    safe = settled.scores[:, -1] > proposal.scores[:, -1] + 2 * error
    return settled, safe & (settled.documents[:, -1] >= 0)


def score_pairs(documents: Embeddings, queries: Vectors, rows: Rows) -> npt.NDArray[np.float64]:
    """Return the inner product of each query with its own rows, each computed alone in float64.

    Args:
        documents: n rows of the same width.
        queries: float32 [q, dim].
        rows: int32 [q, m] rows of `documents`; the score of row -1 means nothing.

    Returns:
        float64 [q, m]; the same pair gives the same bits in any call.
    """
    scores = np.empty(rows.shape, dtype=np.float64)
    columns = max(1, _SETTLE_BYTES // (4 * documents.width))
    step = max(1, columns // max(rows.shape[1], 1))
    few = max(1, _PRODUCTS // documents.width)

    def score(place: tuple[int, int]) -> None:
        start, left = place
        part = rows[start : start + step, left : left + columns]
        vectors = documents.take(part.clip(min=0).reshape(-1)).reshape(*part.shape, -1)
        for row, at in product(range(len(part)), range(0, part.shape[1], few)):
            # Products of float32 are exact in float64; each row is then summed pairwise on its own.
            exact = np.multiply(vectors[row, at : at + few], queries[start + row], dtype=np.float64)
            exact.sum(axis=1, out=scores[start + row, left + at : left + at + exact.shape[0]])

    places = list(product(range(0, len(queries), step), range(0, rows.shape[1], columns)))
    if len(places) == 1:
        score(places[0])
        return scores
    with ThreadPoolExecutor(cpu_threads()) as threads:
        list(threads.map(score, places))
    return scores


def best_engine() -> Engine:
    """Return the engine that proposes: FAISS on a GPU, FAISS on the CPU, or torch without FAISS."""
    if importlib.util.find_spec("faiss") is None:
        return "torch"
    try:
        import faiss
    except (ImportError, RuntimeError):
        # faiss-gpu without its CUDA libraries raises RuntimeError.
        return "torch"
    return "faiss-gpu" if faiss.get_num_gpus() > 0 else "faiss-cpu"


@cache
def engine_package() -> str:
    """Return the package that search would use, without importing it: timings are keyed by it."""
    for name in ("faiss-gpu", "faiss-cpu"):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name
    return "torch"


def _propose(
    documents: Embeddings, queries: Vectors, fetch: int, block_rows: int, nearest: FindNearest
) -> tuple[Neighbours, float]:
    """Return the `fetch` best rows by float32 products, and the longest document's norm."""
    rows = np.full((len(queries), 0), -1, dtype=np.int32)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    longest = 0.0
    for start, block in documents.blocks(block_rows):
        longest = max(longest, float(np.sqrt(np.einsum("ij,ij->i", block, block).max())))
        near = nearest(queries, block, min(fetch, len(block)))
        rows = np.concatenate([rows, near.rows + start], axis=1)
        scores = np.concatenate([scores, near.scores], axis=1)
        if rows.shape[1] > fetch:
            best = np.argpartition(-scores, fetch - 1, axis=1)[:, :fetch]
            rows, scores = np.take_along_axis(rows, best, 1), np.take_along_axis(scores, best, 1)
    order = np.argsort(-scores, axis=1, kind="stable")
    return (
        Neighbours(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)),
        longest,
    )


def _nearest(engine: Engine) -> FindNearest:
    match engine:
        case "torch":
            return _nearest_torch
        case "faiss-cpu":
            return _nearest_faiss
        case "faiss-gpu":
            return _nearest_gpu()


def _nearest_faiss(queries: Vectors, block: Vectors, k: int) -> Neighbours:
    import faiss

    scores, rows = faiss.knn(queries, block, k, metric=faiss.METRIC_INNER_PRODUCT)
    return Neighbours(rows.astype(np.int32), scores)


def _nearest_gpu() -> FindNearest:
    import faiss

    resources = faiss.StandardGpuResources()

    def nearest(queries: Vectors, block: Vectors, k: int) -> Neighbours:
        if k > _GPU_LIMIT:
            return _nearest_faiss(queries, block, k)
        scores, rows = faiss.knn_gpu(
            resources, queries, block, k, metric=faiss.METRIC_INNER_PRODUCT
        )
        return Neighbours(rows.astype(np.int32), scores)

    return nearest


def _nearest_torch(queries: Vectors, block: Vectors, k: int) -> Neighbours:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    documents = torch.from_numpy(block).to(device).T
    step = max(1, _SETTLE_BYTES // (4 * len(block)))
    found = [
        torch.topk(torch.from_numpy(queries[start : start + step]).to(device) @ documents, k, dim=1)
        for start in range(0, len(queries), step)
    ]
    return Neighbours(
        torch.cat([top.indices for top in found]).cpu().numpy().astype(np.int32),
        torch.cat([top.values for top in found]).cpu().numpy(),
    )


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
