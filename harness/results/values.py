"""Results: what a finished plan found, as stored JSON from which every report is rendered."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.results.chunk_sizes import ChunkSize
from harness.results.comparison import Comparison, Overall
from harness.results.learning_curve import LearningCurve
from harness.results.recall import Recall
from harness.results.training import Forgetting, MinedNegatives
from harness.value import Value


class CollectionResult(Value):
    """A collection as it was scored.

    Attributes:
        key: content key of texts and judgements.
        clusters: of queries that belong together; None where each stands for itself.
        warnings: of the audit, each a sentence.
        role: "target", or "general" where it only shows what training forgets.
        passages: that are searched; None where documents are searched whole.
        cut: how documents are cut into them, in words; "" where they are not.
        cut_otherwise: the earlier collection that differs in its passages alone, or None.
    """

    name: str
    source: str
    split: str
    documents: int
    queries: int
    judgements: int
    licence: str
    key: str
    clusters: int | None
    warnings: list[str]
    role: Literal["target", "general"] = "target"
    passages: int | None = None
    cut: str = ""
    cut_otherwise: str | None = None


class CandidateResult(Value):
    """A candidate: what it is, and what it is derived from.

    Attributes:
        kind: the word of its table, such as "bm25", "dense", "api", "truncate" or "rerank".
        change: what the candidate is, or how it differs from its parents, in a few words.
        synthetic: whether it, or a candidate that it uses, is trained on synthetic queries.
        weights: content key of the bi-encoder's weights, or None.
        dimension: dimensions that are searched, or None.
        trained_widths: Matryoshka widths that the model is said to be trained for.
        query_prompt: what is put before queries; with ``{instruction}`` where each collection has
            its own, or None.
        query_prompts: in this case, what is put before the queries of each collection.
        seeds: of the trainings whose mean the scores are; empty where nothing was trained.
        leaks: sentences about scored queries that its training gives away.
        tuned_on: held-out data that chose its checkpoint, or that of a candidate that it uses.
    """

    name: str
    kind: str
    change: str
    parents: list[str]
    model: str | None
    weights: str | None
    dimension: int | None
    trained_widths: list[int]
    similarity: str | None
    query_prompt: str | None
    document_prompt: str | None
    max_length: int | None
    synthetic: bool = False
    seeds: list[int] = []
    leaks: list[str] = []
    tuned_on: list[str] = []
    query_prompts: dict[str, str] = {}


class Score(Value):
    """The mean of a metric over the judged queries, with its 95% t-interval.

    Of several training seeds it is the mean over queries and seeds, and the interval is for another
    query and another seed.

    Attributes:
        n: judged queries, the denominator.
        judged_at_10: share of the first ten results that have a judgement, mean over queries.
        missing: queries without any result; they score 0.
        by_seed: mean of each training seed; empty where there is one or none.
    """

    candidate: str
    collection: str
    metric: str
    mean: float
    low: float
    high: float
    n: int
    judged_at_10: float
    missing: int
    by_seed: list[float] = []


class Cut(Value):
    """How many texts a model reads only in part.

    Attributes:
        documents, queries: share of texts longer than the model's limit.
        limit: tokens.
    """

    candidate: str
    collection: str
    limit: int
    documents: float
    queries: float


class Cost(Value):
    """What a candidate costs, as measured; None for what was not measured here.

    Attributes:
        query_ms_p50, query_ms_p95: milliseconds of one query at a time, all steps.
        query_n: queries timed.
        query_asked: queries that were to be timed; 0 where that is not stored.
        machine: while they were timed; "busy" makes the times useless for a comparison, "unknown"
            is a timing by a version that did not look, or none.
        busy: what showed that the machine was busy, with the figures.
        bytes_per_document: of the vectors or the lexical index that is searched.
        parameters: weights of all models involved.
        documents_per_second, tokens_per_second: while the documents were encoded.
        index_seconds: that an approximate index took to build, in one thread.
        training_seconds, training_pairs: of a fine-tuned candidate; the seconds of all seeds.
        device, date: of the timing of queries; `encoded_on` of the encoding.
        network_ms_p50: of the median query, what providers and the network to them take; None where
            all runs here.
        usd_per_million_queries, usd_per_corpus: what providers bill for queries, and for embedding
            the corpus anew; None where all runs here or a price is not known.
        prices: that these rest on, with their dates.
    """

    candidate: str
    collection: str
    query_ms_p50: float | None
    query_ms_p95: float | None
    query_n: int
    bytes_per_document: float | None
    parameters: int | None
    documents_per_second: float | None
    tokens_per_second: float | None
    training_seconds: float | None
    training_pairs: int | None
    device: str | None
    date: str | None
    encoded_on: str | None
    index_seconds: float | None = None
    query_asked: int = 0
    machine: Literal["quiet", "busy", "unknown"] = "unknown"
    busy: list[str] = []
    network_ms_p50: float | None = None
    usd_per_million_queries: float | None = None
    usd_per_corpus: float | None = None
    prices: list[str] = []

    @property
    def settled_ms_p50(self) -> float | None:
        """The median latency that a rule may use; None where the machine was busy."""
        return None if self.machine == "busy" else self.query_ms_p50

    @property
    def settled_ms_p95(self) -> float | None:
        """The 95th percentile that a rule may use; None where the machine was busy."""
        return None if self.machine == "busy" else self.query_ms_p95

    @property
    def timing_problem(self) -> str | None:
        """Why the latency does not compare, in a sentence; None where it does."""
        if self.query_ms_p95 is None or self.machine != "busy":
            return None
        return (
            f"The latency of '{self.candidate}' on {self.collection} (p50 "
            f"{self.query_ms_p50:.3g} ms, p95 {self.query_ms_p95:.3g} ms, n={self.query_n} of "
            f"{self.query_asked}) was measured on a busy machine and is not comparable: "
            f"{'; '.join(self.busy)}. The next run on a quiet machine measures it again, as does "
            "`harness run SUITE --time-again` (in Python: suite.run(time_again=True))."
        )


class TaskScore(Value):
    """The main score of a candidate in a task of mteb that is no search.

    Attributes:
        task: the suite's name of it.
        kind: mteb's type, such as "STS".
        metric: mteb's main score, such as "cosine_spearman".
        score: as mteb gives it; no interval belongs to it.
    """

    candidate: str
    task: str
    source: str
    kind: str
    metric: str
    score: float


class Results(Value):
    """Everything that a suite found. The same inputs give the same bytes, apart from costs.

    Attributes:
        metrics: of the suite; the first one decides.
        gain, margin: smallest gain that is worth a change, loss that does not matter.
        scores: also of the same metrics at MTEB's cutoffs.
        overall: against the baseline over all target collections; empty where there is one.
        forgetting: what every trained model lost on general collections.
        warnings: about candidates, each a sentence.
        mined: hard negatives of the candidates that are trained against them.
        learning_curves: of the candidates that ask for one.
        recalls: of every compression against its parent.
        chunk_sizes: every candidate on collections that are cut otherwise.
        task_scores: of tasks of mteb that are no search; they decide nothing.
        failed: candidates and collections that are left out since stages failed, and why, each a
            sentence.
    """

    suite: str
    question: str
    baseline: str
    metrics: list[str]
    seed: int
    gain: float
    margin: float
    depth: int
    collections: list[CollectionResult]
    candidates: list[CandidateResult]
    scores: list[Score]
    comparisons: list[Comparison]
    overall: list[Overall]
    cuts: list[Cut]
    warnings: list[str]
    forgetting: list[Forgetting] = []
    mined: list[MinedNegatives] = []
    learning_curves: list[LearningCurve] = []
    recalls: list[Recall] = []
    chunk_sizes: list[ChunkSize] = []
    task_scores: list[TaskScore] = Field(default=[], exclude_if=lambda value: not value)
    failed: list[str] = []

    def score(self, candidate: str, collection: str, metric: str) -> Score:
        """Return one score.

        Raises:
            KeyError: there is none.
        """
        for score in self.scores:
            if (score.candidate, score.collection, score.metric) == (candidate, collection, metric):
                return score
        raise KeyError((candidate, collection, metric))


class Costs(Value):
    """What was measured: it differs from run to run and from device to device."""

    costs: list[Cost]
