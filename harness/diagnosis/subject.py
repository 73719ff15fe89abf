"""Subject: one candidate on one collection, as a diagnosis reads it from the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Rows, Values, Vectors
from harness.collection import Collection, Judgements
from harness.diagnosis.standing import (
    NO_LOSS,
    Ranks,
    Relevant,
    Stages,
    Standing,
    best_of,
    lost_gains,
    name_stages,
    rank_by_vectors,
    rank_by_words,
)
from harness.diagnosis.values import LossStage
from harness.diagnosis.view import Facts
from harness.plan.dense import ids_key
from harness.plan.plan import Plan
from harness.plan.scoring import Scored
from harness.retrieval.embeddings import Embeddings, unit_length
from harness.retrieval.lexical import Bm25Index, LexicalScorer, LexicalSearch, with_language
from harness.retrieval.quantized import Rescore
from harness.retrieval.remote import RemoteEncode
from harness.retrieval.reranking import CrossEncoderScorer, Rerank
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search, VectorSearch
from harness.retrieval.shortlists import RankShortlists
from harness.runs import metrics
from harness.runs.context import document_tokens
from harness.runs.metrics import Metric
from harness.runs.run import Run
from harness.stage import unkeyed
from harness.store import Store
from harness.suite.kinds.bm25 import Bm25

T = TypeVar("T")
Queries = npt.NDArray[np.intp]  # rows of some queries, ascending

RERANKABLE = 100  # documents that a reranker would order, where none does
TRIED = 200  # queries of a counterfactual that encodes texts, at most
_PAIRS = 20_000  # random pairs of documents


class Sides(NamedTuple):
    """The vectors that a candidate searches, ready for the inner product."""

    documents: Embeddings
    queries: Embeddings


@dataclass(frozen=True, eq=False)
class Judge:
    """A cross-encoder that scored pairs of the collection.

    Attributes:
        scorer: its scores.
        scored: of the candidate that it reranks.
        first: the same before reranking.
    """

    scorer: CrossEncoderScorer
    scored: Scored
    first: Scored


@dataclass(frozen=True, eq=False)
class Subject:
    """A candidate on a collection: everything that its diagnosis depends on, and what it reads.

    Attributes:
        candidate: its name.
        facts: about the collection.
        scored: its run and scorecards there.
        metric: whose loss is explained.
        k: rank down to which a query counts as a hit.
        lexical: the stage of a BM25 run to compare with.
        judges: the suite's cross-encoders.
        seed: of what is drawn.
        store: where all that lies.
    """

    candidate: str
    facts: Facts
    scored: Scored
    metric: Metric
    k: int
    lexical: RunStage
    judges: tuple[Judge, ...]
    seed: int
    store: Store = field(repr=False, metadata=unkeyed("where runs and vectors lie"))

    def remember(self, name: str, make: Callable[[], T]) -> T:
        """Return what a reason works out for several of its steps, made once."""
        memory: dict[str, T] = self.__dict__.setdefault("_memory", {})
        if name not in memory:
            memory[name] = make()
        return memory[name]

    @property
    def collection(self) -> Collection:
        """Texts and judgements."""
        return self.facts.collection

    @property
    def n_queries(self) -> int:
        """Judged queries."""
        return len(self.collection.queries)

    @property
    def stage(self) -> RunStage:
        """The stage of the run that is looked at."""
        return self.scored.run_stage

    @cached_property
    def run(self) -> Run:
        """What the candidate returned."""
        return self.stage.result(self.store)

    @cached_property
    def scores(self) -> Values:
        """The metric of that run, float64 [n_queries]."""
        return self.scored.first(self.store).values[str(self.metric)]

    @property
    def reranker(self) -> Rerank | None:
        """The stage, where other scores order a first stage's documents again.

        Rescoring orders what codes find by the vectors that they stand for: part of a search.
        """
        stage = self.stage
        return stage if isinstance(stage, Rerank) and not isinstance(stage, Rescore) else None

    @property
    def depth(self) -> int:
        """Documents that the reranker orders, or that one would order."""
        return RERANKABLE if self.reranker is None else self.reranker.depth

    @cached_property
    def first(self) -> RunStage:
        """The stage that retrieves: what is below all rerankers and rescoring."""
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
    def searched(self) -> Sides:
        """`vectors`, of a candidate that is known to have them."""
        if self.vectors is None:
            raise TypeError(f"{self.candidate} searches no vectors")
        return self.vectors

    @property
    def forbidden(self) -> Rows | None:
        """Rows that queries must not be given, int32 [n_queries] with -1 for none, or None."""
        return _forbidden(self.first)

    def forbids(self, query: int) -> int:
        """Return the row that a query must not be given, or -1."""
        return -1 if self.forbidden is None else int(self.forbidden[query])

    def random_pairs(self) -> tuple[Vectors, Vectors]:
        """Return the unit vectors of both sides of random pairs of different documents."""
        documents = self.searched.documents
        pairs = np.empty((0, 2), dtype=np.int64)
        if len(documents) > 1:
            pairs = np.random.default_rng(self.seed).integers(0, len(documents), (_PAIRS, 2))
        one, two = pairs[pairs[:, 0] != pairs[:, 1]].T
        return unit_length(documents.take(one)), unit_length(documents.take(two))

    @cached_property
    def usual_cosine(self) -> float:
        """Mean cosine of random documents; 0 where no vectors are compared."""
        if self.vectors is None or len(self.vectors.documents) < 2:
            return 0.0
        one, two = self.random_pairs()
        return float((one * two).sum(axis=1, dtype=np.float64).mean())

    @cached_property
    def word_run(self) -> Run:
        """What BM25 returns for the same queries."""
        return self.lexical.result(self.store)

    @cached_property
    def word_ranks(self) -> Ranks:
        """Rank of `best` in BM25's run, int64 [n_queries]; 0 beyond its end."""
        rows = np.flatnonzero(self.findable).astype(np.int32)
        ranks = np.zeros(self.n_queries, dtype=np.int64)
        ranks[rows] = Relevant(rows, self.best[rows]).ranks_in(self.word_run)
        return ranks

    @cached_property
    def compares_words(self) -> bool:
        """Whether BM25 has a part in the run."""
        return any(map(_is_lexical, self.stage.leaves))

    @cached_property
    def compares_words_alone(self) -> bool:
        """Whether nothing but BM25 retrieves."""
        return all(map(_is_lexical, self.stage.leaves))

    @cached_property
    def is_hosted(self) -> bool:
        """Whether a provider's model, which cannot be fine-tuned, is all that embeds texts."""
        leaves = [stage for stage in self.stage.leaves if not _is_lexical(stage)]
        return bool(leaves) and all(
            isinstance(stage, VectorSearch) and isinstance(stage.space.queries, RemoteEncode)
            for stage in leaves
        )

    @property
    def good_judges(self) -> list[Judge]:
        """The cross-encoders that do better than what they rerank."""

        def mean(scored: Scored) -> float:
            return float(scored.result(self.store).values[str(self.metric)].mean())

        return [each for each in self.judges if mean(each.scored) > mean(each.first)]

    @cached_property
    def before(self) -> Standing:
        """Where the best relevant documents stand before reranking."""
        return self._standing(self.stage if self.reranker is None else self.reranker.first)

    @cached_property
    def after(self) -> Standing:
        """Where they stand in the run as scored, and as before beyond its end."""
        return self.before if self.reranker is None else self._in_run_or(self.run, self.before)

    def _standing(self, stage: RunStage) -> Standing:
        relevant = self.facts.relevant
        match stage:
            case Search() if self.vectors is not None:
                return rank_by_vectors(*self.vectors, relevant, forbidden=stage.forbidden)
            case LexicalSearch():
                index = Bm25Index(stage.spec, self.collection.documents)
                ranks = rank_by_words(
                    index, self.collection.queries, relevant, forbidden=stage.forbidden
                )
            case Rerank():
                return self._in_run_or(stage.result(self.store), self._standing(stage.first))
            case _:
                ranks = relevant.ranks_in(stage.result(self.store))
        return best_of(relevant, ranks, n_queries=self.n_queries)

    def _in_run_or(self, run: Run, below: Standing) -> Standing:
        """Return the standing in a run, and that of its first stage where the run ends before."""
        relevant = self.facts.relevant
        found = best_of(relevant, relevant.ranks_in(run), n_queries=self.n_queries)
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
        """Where each query was lost, one of `LossStage`."""
        reranked = self.reranker is not None
        return name_stages(self.before, self.after, k=self.k, depth=self.depth, reranked=reranked)

    @cached_property
    def lost(self) -> dict[LossStage, float]:
        """What the mean score loses at each stage that loses any, as in `StageCount`."""
        losses, stages = 1 - self.scores, self.stages
        if self.metric.family != "ndcg":
            sums = {
                stage: float(losses[stages == stage].sum() / self.n_queries)
                for stage in get_args(LossStage)
            }
            return {stage: loss for stage, loss in sums.items() if abs(loss) > NO_LOSS}
        judged = self.collection.judgements
        kept = judged.grades > 0
        pairs = Relevant(judged.queries[kept], judged.documents[kept])
        last = _of_pairs(pairs, self.run, self.after)
        first = last
        if self.reranker is not None:
            first = _of_pairs(pairs, self.reranker.first.result(self.store), self.before)
        reranked = self.reranker is not None
        found = lost_gains(
            judged.grades[kept].astype(np.float64),
            pairs.ranks_in(self.run),
            pairs.queries,
            name_stages(first, last, k=self.k, depth=self.depth, reranked=reranked),
            cutoff=self.metric.cutoff,
            n_queries=self.n_queries,
        )
        held = np.bincount(pairs.queries, minlength=self.n_queries) > 0
        alone = float(losses[~held].sum() / self.n_queries)  # nothing is relevant to these
        return found | ({"absent": found.get("absent", 0.0) + alone} if alone > NO_LOSS else {})

    @cached_property
    def findable(self) -> Flags:
        """Queries with a relevant document that can be found: of the others nothing is asked."""
        return self.best >= 0

    @cached_property
    def missed(self) -> Flags:
        """Queries that can succeed and fail: no relevant document among the first k."""
        return self.findable & ~self.after.within(self.k)

    @cached_property
    def top(self) -> Rows:
        """The first k documents of the run, int32 [n_queries, <= k]."""
        return np.array(self.run.documents[:, : self.k])

    @cached_property
    def wrong(self) -> Flags:
        """Which of `top` are documents that are not relevant."""
        return (self.top >= 0) & ~self.facts.are_relevant(self.top)

    def sample(self, rows: Queries, *, most: int = TRIED) -> Queries:
        """Return at most `most` of some rows, drawn by the suite's seed, ascending."""
        if len(rows) <= most:
            return rows
        return np.sort(np.random.default_rng(self.seed).choice(rows, most, replace=False))

    def score(self, rows: Queries, run: Run) -> Values:
        """Return the metric of some queries, ascending rows, in another run, float64 [m]."""
        if not len(rows):
            return np.zeros(0)
        tokens = document_tokens(self.collection.documents) if self.metric.in_tokens else None
        judged = self.collection.judgements
        place = np.full(self.n_queries, -1, dtype=np.int32)
        place[rows] = np.arange(len(rows))
        kept = place[judged.queries] >= 0
        some = Judgements(place[judged.queries[kept]], judged.documents[kept], judged.grades[kept])
        card = metrics.score(run, some, [self.metric], n_queries=len(rows), tokens=tokens)
        return card.values[str(self.metric)]

    def hits(self, rows: Queries, run: Run, *, k: int) -> Flags:
        """Tell which queries have a relevant document among the first k of another run, [m]."""
        found: Flags = np.any(self.facts.are_relevant(run.documents[:, :k], queries=rows), axis=1)
        return found


def plan_subject(plan: Plan, candidate: str, facts: Facts, *, k: int | None = None) -> Subject:
    """Return a candidate of a plan on a collection; where `k` is None, the suite's counts."""
    name = facts.collection.name
    scored = plan.scored[candidate, name]
    judges = [
        Judge(stage.scorer, plan.scored[each, name], plan.scored[parent, name])
        for each, spec in plan.suite.candidates.items()
        if isinstance(stage := plan.planner.judged_run(each, name), Rerank)
        if isinstance(stage.scorer, CrossEncoderScorer)
        for parent in spec.parents
    ]
    return Subject(
        candidate=candidate,
        facts=facts,
        scored=scored,
        metric=plan.suite.deciding_metric,
        k=k or plan.suite.hit_rank,
        lexical=_lexical(plan, facts, scored.run_stage),
        judges=tuple(judges),
        seed=plan.suite.seed,
        store=plan.store,
    )


def _lexical(plan: Plan, facts: Facts, stage: RunStage) -> RunStage:
    """Return the suite's first BM25 candidate, else BM25 as it is by default."""
    lists = facts.collection.judgements.shortlists
    if lists is not None:
        spec = with_language(Bm25(kind="bm25"), facts.collection, store=plan.store)
        scorer = LexicalScorer(spec, facts.collection)
        name, ids = f"bm25 on {facts.collection.name}", ids_key(facts.collection)
        return RankShortlists(name, scorer, ids, lists, plan.depth)
    runs = (plan.planner.judged_run(name, facts.collection.name) for name in plan.suite.candidates)
    known = next((run for run in runs if isinstance(run, LexicalSearch)), None)
    if known is not None:
        return known
    forbidden = next(
        (held for leaf in stage.leaves if (held := _forbidden(leaf)) is not None), None
    )
    spec = with_language(Bm25(kind="bm25"), facts.collection, store=plan.store)
    name = f"bm25 on {facts.collection.name}"
    return LexicalSearch(name, spec, facts.collection, plan.depth, forbidden)


def _of_pairs(pairs: Relevant, run: Run, best: Standing) -> Standing:
    """Return the standing of every pair: in the run, and of the best one of a query beyond it."""
    ranks = pairs.ranks_in(run)
    is_best = (ranks == 0) & (pairs.documents == best.documents[pairs.queries])
    return Standing(pairs.documents, np.where(is_best, best.ranks[pairs.queries], ranks))


def _is_lexical(stage: RunStage) -> bool:
    scorer = stage.scorer if isinstance(stage, RankShortlists) else None
    return isinstance(stage, LexicalSearch) or isinstance(scorer, LexicalScorer)


def _forbidden(stage: RunStage) -> Rows | None:
    rows: Rows | None = getattr(stage, "forbidden", None)
    return rows
