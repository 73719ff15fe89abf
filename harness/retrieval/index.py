"""Index: approximate search through FAISS, built in one thread from the documents alone.

What an index proposes is settled as in exact search: by inner products in float64, ties by id. The
vectors of an HNSW or IVF index are the documents' own; a product quantiser is read back from its
codes. RaBitQ alone orders by its own estimates, which belong to no vector.

Two builds from the same vectors are equal, bit for bit: k-means, the levels of the graph and the
rotation draw from the suite's seed, and one thread inserts the documents in the order of their ids.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.arrays import Vectors
from harness.environment import device_name, package_version
from harness.errors import ExitCode, HarnessError
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.engine import engine_package
from harness.retrieval.latency import Prepared, SearchQuery
from harness.retrieval.quantized import Quantized, code_bytes
from harness.retrieval.search import VectorSearch, more_than, score_pairs
from harness.retrieval.space import Space
from harness.runs.run import Run, rank
from harness.stage import Context, StoredStage, Work, unkeyed
from harness.store import Store
from harness.suite.kinds.index import IndexSpec

_POINTS = 39  # documents that FAISS wants to train a centroid of k-means
_CODES = 256  # of one byte of a product quantiser
_PROBED, _FEWEST_PROBED = 16, 4  # one list of 16 is visited, and 4 at least
_MOST_PQ = 64
_PQ_POINTS = 65_536  # that train a byte's codes, at most
_INSERTED, _CLUSTERED = 1e8, 1.5e5  # values a second in one thread, of HNSW's times ef_construction
_QUERY_BITS = 8  # to which RaBitQ rounds a query


def lists_of(spec: IndexSpec, n_documents: int) -> int:
    """Return the lists of an index.

    >>> spec = IndexSpec(type="ivf")
    >>> lists_of(spec, 5183), lists_of(spec, 1_000_000)
    (132, 4000)
    """
    usual = min(round(4 * math.sqrt(n_documents)), n_documents // _POINTS)
    return spec.lists or max(1, usual)


def probes_of(spec: IndexSpec, lists: int) -> int:
    """Return the lists that a query visits, at most all."""
    return min(lists, spec.probes or max(_FEWEST_PROBED, -(-lists // _PROBED)))


def pq_of(spec: IndexSpec, width: int) -> int:
    """Return the bytes of a product-quantised document.

    >>> [pq_of(IndexSpec(type="ivfpq"), width) for width in (32, 384, 1024)]
    [8, 64, 64]
    """
    most = max(1, min(_MOST_PQ, width // 4))
    return spec.pq or next(each for each in range(most, 0, -1) if width % each == 0)


def index_problems(spec: IndexSpec, *, width: int | None, n_documents: int) -> Iterator[str]:
    """Yield what an index cannot be built from.

    Args:
        spec: of the index.
        width: of the vectors; None where it is not known yet.
        n_documents: of the collection.
    """
    if spec.type == "hnsw":
        return
    if spec.lists is not None and spec.lists > n_documents:
        yield f"lists = {spec.lists} for {n_documents:,} documents. Give fewer lists."
    if spec.type != "ivfpq":
        return
    if n_documents < _CODES:
        yield (
            f"'ivfpq' trains {_CODES} codes per byte, but there are {n_documents:,} documents. "
            "Use 'ivf' or 'hnsw'."
        )
    if width is not None and width % pq_of(spec, width):
        yield f"pq = {spec.pq} does not divide {width} dimensions. Give a divisor."


def index_doubts(
    spec: IndexSpec, collection: str, *, n_documents: int, depth: int
) -> Iterator[str]:
    """Yield what is doubtful about an index of a collection, or measured otherwise than it is used.

    Args:
        spec: of the index.
        collection: by name.
        n_documents: of the collection.
        depth: ranks that are searched.
    """
    if spec.type == "hnsw":
        if spec.ef_search < min(depth, n_documents):
            yield (
                f"{depth:,} ranks are searched, and FAISS keeps at least as many candidates: "
                f"quality and latency are those of ef_search = {depth}, not {spec.ef_search}."
            )
        return
    lists = lists_of(spec, n_documents)
    if spec.lists is not None and n_documents < _POINTS * lists:
        yield (
            f"{lists:,} lists of {n_documents:,} documents on '{collection}' are trained on fewer "
            f"than the {_POINTS} each that FAISS recommends. Give at most "
            f"{max(1, n_documents // _POINTS):,} lists."
        )
    visited = n_documents * probes_of(spec, lists) // lists
    if visited < min(depth, n_documents):
        yield (
            f"a query visits about {visited:,} documents on '{collection}', fewer than the "
            f"{depth:,} ranks searched, so some stay empty. Give more probes."
        )


def build(vectors: Vectors, spec: IndexSpec, *, seed: int) -> Any:
    """Return a FAISS index of documents.

    Args:
        vectors: float32 [n, width], ready for the inner product.
        spec: type and parameters.
        seed: of what draws.

    Raises:
        HarnessError: exit code 2, as of `index_problems`.
    """
    import faiss

    n, width = vectors.shape
    problems = list(index_problems(spec, width=width, n_documents=n))
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    index: Any
    types: Any = faiss  # its stubs lack the generator
    metric = faiss.METRIC_INNER_PRODUCT
    with _one_thread():
        if spec.type == "hnsw":
            index = faiss.IndexHNSWFlat(width, spec.m, metric)
            index.hnsw.efConstruction = spec.ef_construction
            index.hnsw.rng = types.RandomGenerator(seed)
            index.add(vectors)
            return index
        centroids, lists = faiss.IndexFlatIP(width), lists_of(spec, n)
        if spec.type == "ivf":
            index = faiss.IndexIVFFlat(centroids, width, lists, metric)
        elif spec.type == "ivfpq":
            index = faiss.IndexIVFPQ(centroids, width, lists, pq_of(spec, width), 8, metric)
            _seed(index.pq.cp, seed)
        else:
            index = faiss.IndexIVFRaBitQ(centroids, width, lists, metric)
            index.qb = _QUERY_BITS
        _seed(index.cp, seed)
        if spec.type == "rabitq":
            rotation = faiss.RandomRotationMatrix(width, width)
            rotation.init(seed)
            index = faiss.IndexPreTransform(rotation, index)
        index.train(vectors)
        index.add(vectors)
        return index


def _seed(clustering: Any, seed: int) -> None:
    """Let k-means draw from a seed, and be silent where the plan has warned of few documents."""
    clustering.seed = seed
    clustering.min_points_per_centroid = 1


@contextmanager
def _one_thread() -> Iterator[None]:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def ranks_of(spec: IndexSpec, depth: int) -> int:
    """Return how many documents an index is asked for where `depth` are wanted.

    HNSW keeps as many candidates as it is asked for, if these are more than ef_search.
    """
    if spec.type == "hnsw":
        return max(depth + 1, min(more_than(depth), spec.ef_search))
    return more_than(depth)


@dataclass(frozen=True, eq=False)
class BuildIndex(StoredStage):
    """Stage: an approximate index of a collection's documents.

    Attributes:
        name: for people.
        documents: the space of the documents on both sides: no query has a part in it.
        spec: of the index.
        seed: of what draws.
        shape: documents and their dimensions, as far as these are known.
    """

    kind = "indexes"

    name: str = field(metadata=unkeyed("for people"))
    documents: Space
    spec: IndexSpec = field(
        metadata=unkeyed("all searches of one index share it", "ef_search", "probes")
    )
    seed: int
    shape: tuple[int, int] = field(metadata=unkeyed("of the documents, for an estimate of time"))

    @property
    def label(self) -> str:
        """What is done."""
        return f"build the {self.spec.name} of {self.name}"

    def also_keyed(self) -> tuple[object, ...]:
        """Return the version of what builds it."""
        return (package_version(engine_package()),)

    def run(self, context: Context) -> None:
        """Build it and store it, with its bytes and the seconds that it took.

        Quantised documents are read as their codes stand for; the bytes are those of an index that
        holds the codes in place of the vectors.
        """
        import faiss

        documents, _ = self.documents.read(context.store)
        n, width = len(documents), documents.width
        with context.progress.task(self.label, total=n, unit="documents") as advance:
            vectors = documents.block(0, n)
            started = time.perf_counter()
            index = build(vectors, self.spec, seed=self.seed)
            seconds = time.perf_counter() - started
            advance(n)
        written = faiss.serialize_index(index)
        held = len(written)
        if isinstance(documents, Quantized):
            held += n * (code_bytes(documents.codec.precision, width) - vectors.itemsize * width)
        context.store.put(
            self.kind,
            self.ready_key(context.store),
            arrays={"index": written},
            meta={
                "label": self.label,
                "seconds": seconds,
                "index_bytes": held,
                "threads": 1,
                "device": device_name("cpu"),
            },
        )

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return a rough time; k-means of lists alone takes next to none."""
        n, width = self.shape
        if self.spec.type == "hnsw":
            return Work(seconds=n * width * self.spec.ef_construction / _INSERTED)
        trained = min(n, _PQ_POINTS) if self.spec.type == "ivfpq" else 0
        return Work(seconds=1 + trained * width / _CLUSTERED)

    def opened(self, store: Store, spec: IndexSpec) -> Any:
        """Return the stored index, ready for searches as a table says."""
        import faiss

        index: Any = faiss.deserialize_index(np.array(self.stored(store).array("index")))
        if spec.type == "hnsw":
            index.hnsw.efSearch = spec.ef_search
        else:
            lists = faiss.extract_index_ivf(index)
            lists.nprobe = probes_of(spec, lists.nlist)
        return index


@dataclass(frozen=True, eq=False)
class SearchIndex(VectorSearch):
    """Stage: a run by search through an approximate index.

    Attributes:
        built: the index.
        spec: with how it is searched.
    """

    built: BuildIndex
    spec: IndexSpec

    def produce(self, context: Context) -> Run:
        """Search, building the index where a training alone asks for it."""
        store = context.store
        if not self.built.is_done(store):
            self.built.run(context)
        documents, queries = self.space.read(store)
        depth = min(self.depth, len(documents))
        index, asked = self.built.opened(store, self.spec), queries.block(0, len(queries))
        fetch = min(len(documents), ranks_of(self.spec, depth))
        with _one_thread():
            scores, found = index.search(asked, fetch)
        rows = found.astype(np.int32)
        if self.forbidden is not None:
            rows[rows == self.forbidden[:, None]] = -1
        if self.spec.type == "ivfpq":
            documents, places = _decoded(index, rows)
            scores = score_pairs(documents, asked, places)
        elif self.spec.type != "rabitq":
            scores = score_pairs(documents, asked, rows)
        return rank(rows, scores, depth=depth)


def _decoded(index: Any, rows: Any) -> tuple[Embeddings, Any]:
    """Return what the codes of some documents stand for, and the place there of each row."""
    kept, places = np.unique(rows, return_inverse=True)
    index.make_direct_map()
    vectors = index.reconstruct_batch(kept.clip(min=0).astype(np.int64))
    held = Embeddings([vectors], np.arange(len(kept)), vectors.shape[1], normalised=False)
    return held, places.reshape(rows.shape).astype(np.int32)


@dataclass(frozen=True, eq=False)
class IndexQuery(SearchQuery):
    """Step: one query through the index, held in memory as a server would."""

    built: BuildIndex
    spec: IndexSpec

    def prepare(self, context: Context) -> Prepared:
        """Load the index."""
        documents, queries = self.space.read(context.store)
        asked = queries.block(0, len(queries))
        index, depth = self.built.opened(context.store, self.spec), min(self.depth, len(documents))
        index_bytes: int = self.built.stored(context.store).meta["index_bytes"]
        return Prepared(lambda row: index.search(asked[row : row + 1], depth), index_bytes)
