"""Situation: everything that a decision looks at, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Values
from harness.decision.holes import Contradiction, Holes
from harness.results.chunk_sizes import ChunkSize
from harness.results.learning_curve import LearningCurve
from harness.results.training import Forgetting
from harness.runs.headroom import Gap
from harness.suite.spec import Budgets, DecisionSpec
from harness.value import Value


class Action(StrEnum):
    """What a decision can say."""

    KEEP = "keep"
    SWITCH = "switch"
    FINE_TUNE = "fine-tune"
    RERANK = "rerank"
    FUSE = "fuse"
    TRUNCATE = "truncate"
    COMPRESS = "compress"
    INDEX = "index"
    ASK_BY_LESS = "use a smaller query encoder"
    FIX_DATA = "fix the data"
    FIX_PIPELINE = "fix the pipeline"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class OptionCost:
    """What a candidate costs; None for what was not measured.

    Attributes:
        query_ms_p95: milliseconds of one query at a time, 95th percentile.
        bytes_per_document: of what is searched.
        parameters: weights of all models involved.
        training_minutes: of its fine-tuning.
        money_per_month: where the suite gives prices.
        busy: whether its latency was measured on a busy machine, and does not compare.
        usd_per_million_queries, usd_per_corpus: what providers bill for queries, and for embedding
            the corpus anew; 0 or None where nothing is billed or no price is known.
    """

    query_ms_p95: float | None = None
    bytes_per_document: float | None = None
    parameters: int | None = None
    training_minutes: float | None = None
    money_per_month: float | None = None
    usd_per_million_queries: float | None = None
    usd_per_corpus: float | None = None
    busy: bool = False


class Migration(Value):
    """What it takes, once, to serve an option whose documents are searched in another form.

    Attributes:
        documents: of the corpus: `documents` of the suite's prices, else those of its collections.
        embeds: whether texts are embedded, so that old and new vectors do not mix; else an index is
            built of what is stored, or of words.
        tokens: to embed; None where nobody counts them.
        hours: to embed them at the rate that was measured; None where none was.
        tokens_per_second, device: that rate, and whose it is.
        money, currency: what a provider bills, or the device at the suite's prices; None where a
            price is not known.
        index_bytes: of the second index while both serve; None where it was not measured.
    """

    documents: int
    embeds: bool = False
    tokens: int | None = None
    hours: float | None = None
    tokens_per_second: float | None = None
    device: str = ""
    money: float | None = None
    currency: str = ""
    index_bytes: int | None = None


@dataclass(frozen=True)
class Option:
    """A candidate that could replace the baseline.

    Attributes:
        name: of the candidate.
        action: what taking it means, seen from the baseline; the costliest of several changes.
        step: the last of several changes, such as a fusion with a model that was trained; None
            where it is `action`.
        differences: per collection, float64 [n_queries], candidate minus baseline.
        cost: of the candidate.
        shortens: the candidate whose vectors it compresses, or None.
        width: dimensions that are left, of a compression.
        left: what is left, such as "128 dimensions", of a compression.
        indexed: whether it is searched through an approximate index.
        series: compressions of one series are tested one after the other, from the widest.
        over_budget: sentences, one for each budget that its cost exceeds.
        exceeded: the same as phrases for a table.
        leaked: sentences why its scores cannot be trusted.
        trained: names of the trained models that answer for it.
        forgotten: sentences, one for each trained model that forgets more than is accepted.
        harmful: sentences why it loses the answers of more queries than are accepted.
        cautions: sentences why it can be leaned to at most, such as that what it forgets is open.
        unmeasured: sentences, one for each budget on something that was not measured.
        failed_gates: each gate of the suite on a cost that is exceeded, and by what.
        holes: per collection, what unjudged documents may hide; empty where nobody looked.
        by_seed: as `differences`, float64 [n_queries, n_seeds] of each training seed; empty where
            there is one or none.
        migration: what it takes to serve it; None where the baseline's index serves it too.
    """

    name: str
    action: Action
    differences: tuple[Values, ...] = field(repr=False)
    cost: OptionCost = OptionCost()
    shortens: str | None = None
    width: int | None = None
    left: str = ""
    indexed: bool = False
    series: str = ""
    over_budget: tuple[str, ...] = ()
    exceeded: tuple[str, ...] = ()
    leaked: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    unmeasured: tuple[str, ...] = ()
    failed_gates: tuple[str, ...] = ()
    harmful: tuple[str, ...] = ()
    holes: tuple[Holes, ...] = field(default=(), repr=False)
    by_seed: tuple[Values, ...] = field(default=(), repr=False)
    migration: Migration | None = None
    step: Action | None = None

    @property
    def named(self) -> Action:
        """The kind of change that it is called: that of its last step."""
        return self.step or self.action

    @property
    def excluded(self) -> tuple[str, ...]:
        """Sentences why it cannot be taken, whatever it scores."""
        return self.over_budget + self.leaked + self.forgotten + self.harmful

    @property
    def each_seed(self) -> tuple[Values, ...]:
        """As `by_seed`, with one column where there is one seed or none."""
        return self.by_seed or tuple(values[:, None] for values in self.differences)

    @property
    def seed_means(self) -> Values:
        """Macro mean difference of each training seed, float64 [n_seeds]; one where all agree."""
        means: Values = np.mean([values.mean(axis=0) for values in self.each_seed], axis=0)
        return means


@dataclass(frozen=True)
class Health:
    """What is known about the data and the pipeline.

    Attributes:
        contradiction: of the judgements, or None where no two independent systems ran.
        missing: share of judged queries for which the baseline returns nothing.
        pipeline: sentences about mistakes in how the baseline is run, such as a forgotten prompt.
        notes: other warnings, each a sentence.
    """

    contradiction: Contradiction | None = None
    missing: float = 0.0
    pipeline: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class GradesUsed(NamedTuple):
    """What a collection's differences are estimated from: grades of a part of the pairs.

    Attributes:
        source: how many queries, and grades of people and of a model, in a phrase.
        by_people: people graded enough for an interval; else the model graded alone.
        alone: differences by the model's grades alone, float64 [n_queries] of each option; empty
            without a model.
        whole: no pair is left to grade.
    """

    source: str
    by_people: bool
    alone: Mapping[str, Values]
    whole: bool = False


class Recoverable(NamedTuple):
    """What one lever would bring to a candidate.

    Attributes:
        lever: such as "chunking".
        points: of the metric over all queries, measured by counterfactuals.
        reasons: of the failures that it would fix, for people.
    """

    lever: str
    points: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failures:
    """What a diagnosis of the same runs found; empty where none is stored.

    Attributes:
        n: queries of the baseline that were diagnosed.
        recoverable: by lever, most first; each alone, they overlap.
        supported: by lever, titles of the reasons that a contrast supports and no counterfactual
            measured.
        others: the same of the other candidates that were diagnosed, by name.
        reversals: by (better, worse) candidate, sentences about differences whose sign depends on
            what nobody judged.
    """

    n: int = 0
    recoverable: tuple[Recoverable, ...] = ()
    supported: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: Mapping[str, Failures] = field(default_factory=dict)
    reversals: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """The question, with everything that was measured.

    Attributes:
        baseline: name of the candidate in use.
        baseline_cost: its cost.
        baseline_over_budget: sentences, one for each budget that it exceeds itself.
        baseline_unmeasured: the same of budgets on what was not measured.
        with_vectors, with_weights: candidates whose vectors could be truncated, and whose weights
            could be trained.
        tried: by candidate, the kinds of change that it has or that were tested on it.
        metric: that decides.
        collections: names, parallel to every tuple over collections.
        scores: of the baseline per collection, float64 [n_queries].
        options: all other candidates.
        spec, budgets: of the suite.
        health: of data and pipeline.
        gap: split of the baseline's distance from 1, or None.
        gaps: the same of the options, by name.
        published: sentences about models that do better elsewhere.
        untested: names of those that are not in the suite.
        clusters: per collection, int64 [n_queries] of queries that belong together, or None; empty
            where all are independent.
        failures: what a diagnosis found.
        forgetting: what each trained model does on general collections.
        seed: of everything that draws.
        curves: what more training pairs would bring the candidates that were trained on parts.
        chunk_sizes: what cutting the documents otherwise does to each candidate.
        queues: per collection, the file for the documents that are to be judged; empty where none
            is written.
        sampled: the suite was tried on a part of its queries and documents.
        grades: per collection, what its differences are estimated from, or None where they are
            computed from its judgements; empty where all are.
    """

    baseline: str
    metric: str
    collections: tuple[str, ...]
    scores: tuple[Values, ...] = field(repr=False)
    options: tuple[Option, ...]
    spec: DecisionSpec
    budgets: Budgets
    seed: int
    baseline_cost: OptionCost = OptionCost()
    baseline_over_budget: tuple[str, ...] = ()
    baseline_unmeasured: tuple[str, ...] = ()
    with_vectors: frozenset[str] = frozenset()
    with_weights: frozenset[str] = frozenset()
    tried: Mapping[str, frozenset[str]] = field(default_factory=dict)
    health: Health = Health()
    gap: Gap | None = None
    gaps: Mapping[str, Gap] = field(default_factory=dict)
    published: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()
    curves: tuple[LearningCurve, ...] = ()
    clusters: tuple[Clusters | None, ...] = ()
    failures: Failures = Failures()
    forgetting: tuple[Forgetting, ...] = ()
    queues: tuple[str, ...] = ()
    chunk_sizes: tuple[ChunkSize, ...] = ()
    sampled: bool = False
    grades: tuple[GradesUsed | None, ...] = field(default=(), repr=False)

    @property
    def n_queries(self) -> int:
        """Judged queries of all collections."""
        return sum(len(values) for values in self.scores)

    @property
    def estimated(self) -> tuple[bool, ...]:
        """Per collection, whether its differences are estimated from grades of a part."""
        return tuple(each is not None for each in self.grades) or (False,) * len(self.collections)

    @property
    def has_open_pairs(self) -> bool:
        """Whether grading more pairs would narrow the interval without any new query."""
        return any(each is not None and not each.whole for each in self.grades)

    def clusters_of(self, place: int) -> Clusters | None:
        """Return the clusters of the collection at a place."""
        return self.clusters[place] if self.clusters else None
