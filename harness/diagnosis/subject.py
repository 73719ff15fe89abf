"""Subject: one candidate on one collection, as a diagnosis reads it from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Values
from harness.collection import Collection
from harness.diagnosis.facts import Facts
from harness.diagnosis.geometry import mean_cosine
from harness.diagnosis.stages import Stages, name_stages
from harness.diagnosis.standing import (
    Relevant,
    Standing,
    best_of,
    rank_by_vectors,
    rank_by_words,
    rank_in_run,
)
from harness.plan.plan import Plan
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.lexical import Bm25Index, LexicalSearch
from harness.retrieval.reranking import CrossEncoderScorer, Rerank
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.runs.metrics import Metric
from harness.runs.run import Run
from harness.store import Store
from harness.suite.kinds.bm25 import Bm25

T = TypeVar("T")

RERANKABLE = 100  # documents that a reranker would order, where none does


class Sides(NamedTuple):
    """The vectors that a candidate searches, ready for the inner product."""

    documents: Embeddings
    queries: Embeddings


@dataclass(frozen=True, eq=False)
class Subject:
    """A candidate on a collection, with what was stored about it.

    Attributes:
        candidate: its name.
        facts: about the collection.
        stage: of its run.
        store: where that lies.
        metric: whose loss is explained.
        scores: float64 [n_queries], the metric.
        k: rank down to which a query counts as a hit.
        lexical: the stage of a BM25 run to compare with.
        scorers: cross-encoders that scored pairs of this collection and do better than what they
            rerank.
        seed: of what is drawn.
    """

    candidate: str
    facts: Facts
    stage: RunStage
    store: Store = field(repr=False)
    metric: Metric
    scores: Values = field(repr=False)
    k: int
    lexical: LexicalSearch
    scorers: tuple[CrossEncoderScorer, ...] = ()
    seed: int = 0
    _memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def remember(self, name: str, make: Callable[[], T]) -> T:
        """Return what a reason works out for several of its steps, made once."""
        if name not in self._memory:
            self._memory[name] = make()
        made: T = self._memory[name]
        return made

    @property
    def collection(self) -> Collection:
        """Texts and judgements."""
        return self.facts.collection

    @property
    def n_queries(self) -> int:
        """Judged queries."""
        return len(self.collection.queries)

    @cached_property
    def run(self) -> Run:
        """What the candidate returned."""
        return self.stage.result(self.store)

    @property
    def is_reranked(self) -> bool:
        """Whether a second stage orders the first one's documents."""
        return isinstance(self.stage, Rerank)

    @property
    def depth(self) -> int:
        """Documents that the reranker orders, or that one would order."""
        return self.stage.depth if isinstance(self.stage, Rerank) else RERANKABLE

    @cached_property
    def first(self) -> RunStage:
        """The stage that retrieves: what is below all rerankers."""
        stage = self.stage
        while isinstance(stage, Rerank):
            stage = stage.first
        return stage

    @cached_property
    def vectors(self) -> Sides | None:
        """The vectors that are searched, or None where the candidate compares none."""
        if not isinstance(self.first, Search):
            return None
        return Sides(*self.first.space.read(self.store))

    @property
    def forbidden(self) -> Rows | None:
        """Rows that queries must not be given, int32 [n_queries] with -1 for none, or None."""
        return _forbidden(self.first)

    def forbids(self, query: int) -> int:
        """Return the row that a query must not be given, or -1."""
        return -1 if self.forbidden is None else int(self.forbidden[query])

    @cached_property
    def usual_cosine(self) -> float:
        """Mean cosine of random documents; 0 where no vectors are compared."""
        return 0.0 if self.vectors is None else mean_cosine(self.vectors.documents, seed=self.seed)

    @cached_property
    def word_run(self) -> Run:
        """What BM25 returns for the same queries."""
        return self.lexical.result(self.store)

    @cached_property
    def word_ranks(self) -> npt.NDArray[np.int64]:
        """Rank of `best` in BM25's run, int64 [n_queries]; 0 beyond its end."""
        rows = np.flatnonzero(self.findable).astype(np.int32)
        ranks = np.zeros(self.n_queries, dtype=np.int64)
        ranks[rows] = Relevant(rows, self.best[rows]).ranks_in(self.word_run)
        return ranks

    @cached_property
    def before(self) -> Standing:
        """Where the best relevant documents stand before reranking."""
        stage = self.stage.first if isinstance(self.stage, Rerank) else self.stage
        return self._standing(stage)

    @cached_property
    def after(self) -> Standing:
        """Where they stand in the run as scored, and as before beyond its end."""
        if not self.is_reranked:
            return self.before
        return self._in_run_or(self.run, self.before)

    def _standing(self, stage: RunStage) -> Standing:
        relevant, store = self.facts.relevant, self.store
        match stage:
            case Search() if self.vectors is not None:
                return rank_by_vectors(*self.vectors, relevant, forbidden=stage.forbidden)
            case LexicalSearch():
                index = Bm25Index(stage.spec, self.collection.documents)
                ranks = rank_by_words(
                    index, self.collection.queries, relevant, forbidden=stage.forbidden
                )
                return best_of(relevant, ranks, n_queries=self.n_queries)
            case Rerank():
                return self._in_run_or(stage.result(store), self._standing(stage.first))
        return rank_in_run(stage.result(store), relevant)

    def _in_run_or(self, run: Run, below: Standing) -> Standing:
        """Return the standing in a run, and that of its first stage where the run ends before."""
        found = rank_in_run(run, self.facts.relevant)
        held = found.ranks > 0
        return Standing(
            np.where(held, found.documents, below.documents).astype(np.int32),
            np.where(held, found.ranks, below.ranks),
        )

    @property
    def best(self) -> Rows:
        """Row of each query's best relevant document before reranking; -1 where there is none."""
        return self.before.documents

    @cached_property
    def stages(self) -> Stages:
        """Where each query was lost, one of `Stage`."""
        return name_stages(
            self.before, self.after, k=self.k, depth=self.depth, reranked=self.is_reranked
        )

    @cached_property
    def findable(self) -> npt.NDArray[np.bool_]:
        """Queries with a relevant document that can be found: of the others nothing is asked."""
        return self.best >= 0

    @cached_property
    def missed(self) -> npt.NDArray[np.bool_]:
        """Queries that can succeed and fail: no relevant document among the first k."""
        return self.findable & ~self.after.within(self.k)

    @cached_property
    def top(self) -> Rows:
        """The first k documents of the run, int32 [n_queries, <= k]."""
        return np.array(self.run.documents[:, : self.k])

    @cached_property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Which of `top` are documents that are not relevant."""
        return (self.top >= 0) & ~self.facts.are_relevant(self.top)

    @cached_property
    def compares_words(self) -> bool:
        """Whether BM25 has a part in the run."""
        return any(isinstance(stage, LexicalSearch) for stage in self.stage.leaves)

    def ranks_in_run(self) -> npt.NDArray[np.int64]:
        """Return the rank in the run of every relevant pair, int64 [m]; 0 beyond its end."""
        return self.facts.relevant.ranks_in(self.run)


def read_subject(plan: Plan, candidate: str, facts: Facts, *, k: int | None = None) -> Subject:
    """Return a candidate of a finished plan on a collection.

    Args:
        plan: finished: run and scorecard are stored.
        candidate: by name.
        facts: about the collection.
        k: rank down to which a query counts as a hit; None takes the suite's.
    """
    metric = plan.suite.deciding_metric
    name = facts.collection.name
    scored = plan.scored[candidate, name]
    return Subject(
        candidate=candidate,
        facts=facts,
        stage=scored.run_stage,
        store=plan.store,
        metric=metric,
        scores=scored.first(plan.store).values[str(metric)],  # whose run is looked at
        k=k or plan.suite.hit_rank,
        lexical=_lexical(plan, facts, scored.run_stage),
        scorers=tuple(_scorers(plan, name, str(metric))),
        seed=plan.suite.seed,
    )


def _lexical(plan: Plan, facts: Facts, stage: RunStage) -> LexicalSearch:
    """Return the suite's first BM25 candidate, else BM25 as it is by default."""
    runs = (plan.planner.run_stage(name, facts.collection.name) for name in plan.suite.candidates)
    known = next((run for run in runs if isinstance(run, LexicalSearch)), None)
    if known is not None:
        return known
    forbidden = next(
        (held for leaf in stage.leaves if (held := _forbidden(leaf)) is not None), None
    )
    spec = Bm25(kind="bm25", language="none" if facts.language == "none" else "english")
    name = f"bm25 on {facts.collection.name}"
    return LexicalSearch(name, spec, facts.collection, plan.depth, forbidden)


def _scorers(plan: Plan, collection: str, metric: str) -> Iterator[CrossEncoderScorer]:
    """Yield the cross-encoders that do better than what they rerank."""
    for name in plan.suite.candidates:
        stage = plan.planner.run_stage(name, collection)
        if isinstance(stage, Rerank) and isinstance(stage.scorer, CrossEncoderScorer):
            [parent] = plan.suite.candidates[name].parents
            means = [
                plan.scored[each, collection].result(plan.store).values[metric].mean()
                for each in (name, parent)
            ]
            if means[0] > means[1]:
                yield stage.scorer


def _forbidden(stage: RunStage) -> Rows | None:
    rows: Rows | None = getattr(stage, "forbidden", None)
    return rows
