"""Latency: milliseconds of each step of a query, measured one query at a time after a warm-up.

A candidate's latency is the sum of its steps for the same query, so what two candidates share is
measured once. A timing belongs to a device: it is stored under the device's name.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.collection import Collection
from harness.encoding import Encode
from harness.environment import device_name, today
from harness.hashing import digest
from harness.lexical import Bm25Index
from harness.reranking import Scorer, SpaceScorer
from harness.run_stage import RunStage
from harness.search import best_engine, engine_package, score_pairs
from harness.space import Space
from harness.stage import Context, StoredStage, Work
from harness.store import Store
from harness.suite import Bm25

SAMPLE = 40
_WARM_UP = 3
_AT_LEAST = 5
_PATIENCE_SECONDS = 15.0

Ask = Callable[[int], object]
Milliseconds = npt.NDArray[np.float64]


class Prepared(NamedTuple):
    """A step ready to be timed: what does it for a query's row, and the bytes that it searches."""

    ask: Ask
    index_bytes: int


def sample_rows(n_queries: int) -> list[int]:
    """Return the rows of the queries that are timed, spread evenly, in a fixed shuffled order."""
    count = min(SAMPLE, n_queries)
    rows = np.linspace(0, n_queries - 1, count).round().astype(int)
    order: list[int] = np.random.default_rng(0).permutation(rows).tolist()
    return order


@dataclass(frozen=True, eq=False)
class Step(StoredStage):
    """Stage: one step of answering a query, timed on a sample of the collection's queries.

    Attributes:
        name: for people.
        collection: whose queries.
        device: torch's name of the device.
    """

    kind = "latency"
    doing: ClassVar[str]

    name: str
    collection: Collection
    device: str

    @property
    def label(self) -> str:
        """What is done."""
        return f"time {self.doing} with {self.name}"

    @abstractmethod
    def step_key(self, store: Store) -> str | None:
        """Return the key of what is timed, apart from the device; None if it is not there yet."""

    @abstractmethod
    def prepare(self, context: Context) -> Prepared:
        """Load what the step needs."""

    def key(self, store: Store) -> str | None:
        """Key of what is timed, and where."""
        step = self.step_key(store)
        if step is None:
            return None
        return digest(type(self).__name__, 1, step, engine_package(), device_name(self.device))

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return a usual time."""
        return Work(seconds=2.0)

    def run(self, context: Context) -> None:
        """Time the sample, the first queries twice; stop early where a query takes very long."""
        key = self.ready_key(context.store)
        ask, index_bytes = self.prepare(context)
        rows = sample_rows(len(self.collection.queries))
        times: list[float] = []
        with context.progress.task(self.label, total=len(rows), unit="queries") as advance:
            for row in rows[:_WARM_UP]:
                ask(row)
            began = time.perf_counter()
            for row in rows:
                started = time.perf_counter()
                ask(row)
                times.append(1000 * (time.perf_counter() - started))
                advance(1)
                if len(times) >= _AT_LEAST and time.perf_counter() - began > _PATIENCE_SECONDS:
                    break
        context.store.put(
            self.kind,
            key,
            arrays={"milliseconds": np.array(times)},
            meta={
                "label": self.label,
                "index_bytes": index_bytes,
                "device": device_name(self.device),
                "date": today(),
            },
        )


def total_milliseconds(steps: Iterable[Step | None], store: Store) -> Milliseconds | None:
    """Return the milliseconds of each timed query through all steps; None if one is not timed.

    Args:
        steps: None stands for a step that another system did.
        store: where the timings lie.

    Returns:
        float64 [n], over the queries that every step timed.
    """
    artifacts = [step.artifact(store) if step else None for step in steps]
    times = [artifact.array("milliseconds") for artifact in artifacts if artifact is not None]
    if not times or len(times) < len(artifacts):
        return None
    n = min(map(len, times))
    total: Milliseconds = np.sum([values[:n] for values in times], axis=0)
    return total


@dataclass(frozen=True, eq=False)
class EncodeQuery(Step):
    """Step: one query through a bi-encoder."""

    doing = "encoding a query"

    encode: Encode

    def step_key(self, store: Store) -> str | None:
        """Key of the model and the queries."""
        return self.encode.key(store)

    def prepare(self, context: Context) -> Prepared:
        """Load the model."""
        encode = self.encode
        model = encode.load(context)
        texts = self.collection.queries
        return Prepared(
            lambda row: model.encode([texts[row]], role="query", prompt=encode.prompt), 0
        )


@dataclass(frozen=True, eq=False)
class SearchQuery(Step):
    """Step: one query against all documents, held in memory as a server would."""

    doing = "searching"

    space: Space
    depth: int

    def step_key(self, store: Store) -> str | None:
        """Key of the vectors and the depth."""
        space = self.space.key(store)
        return None if space is None else digest(space, self.depth)

    def prepare(self, context: Context) -> Prepared:
        """Build the index."""
        documents, queries = self.space.read(context.store)
        asked = queries.block(0, len(queries))
        vectors = documents.block(0, len(documents))
        depth = min(self.depth, len(vectors))
        engine = best_engine()
        if engine == "torch":
            import torch

            matrix = torch.from_numpy(vectors).to(context.device).T

            def ask(row: int) -> object:
                query = torch.from_numpy(asked[row]).to(context.device)
                return torch.topk(query @ matrix, depth).indices.cpu()

            return Prepared(ask, vectors.nbytes)
        import faiss

        index: Any = faiss.IndexFlatIP(vectors.shape[1])
        if engine == "faiss-gpu":
            index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        index.add(vectors)
        return Prepared(lambda row: index.search(asked[row : row + 1], depth), vectors.nbytes)


@dataclass(frozen=True, eq=False)
class LexicalQuery(Step):
    """Step: one query through BM25."""

    doing = "searching"

    spec: Bm25
    depth: int

    def step_key(self, store: Store) -> str:  # noqa: ARG002
        """Key of the parameters, the texts and the depth."""
        collection = self.collection
        texts = (collection.documents_key, collection.queries_key)
        return digest(self.spec.model_dump(), *texts, self.depth)

    def prepare(self, context: Context) -> Prepared:  # noqa: ARG002
        """Index the documents."""
        index = Bm25Index(self.spec, self.collection.documents)
        last = min(self.depth, index.n_documents) - 1

        def ask(row: int) -> object:
            return np.argpartition(-index.score(self.collection.queries[row]), last)[: last + 1]

        return Prepared(ask, index.index_bytes)


@dataclass(frozen=True, eq=False)
class RescoreQuery(Step):
    """Step: one query's first-stage documents through the second model of a reranker."""

    doing = "reranking"

    first: RunStage
    scorer: Scorer
    depth: int

    def step_key(self, store: Store) -> str | None:
        """Key of the documents and of what scores them."""
        keys = (self.first.key(store), self.scorer.key(store))
        return None if None in keys else digest(*keys, self.depth)

    def prepare(self, context: Context) -> Prepared:
        """Load the cross-encoder, or the vectors of a cascade."""
        top = self.first.result(context.store).documents[:, : self.depth]
        scorer = self.scorer
        if isinstance(scorer, SpaceScorer):
            documents, queries = scorer.space.read(context.store)
            asked = queries.block(0, len(queries))
            vectors = len(documents) * documents.width * asked.itemsize
            return Prepared(
                lambda row: score_pairs(documents, asked[row : row + 1], top[row : row + 1]),
                vectors,
            )
        model = scorer.load(context)
        texts = self.collection

        def ask(row: int) -> object:
            pairs = [(texts.queries[row], texts.documents[item]) for item in top[row] if item >= 0]
            return model.score(pairs) if pairs else None

        return Prepared(ask, 0)
