"""Health: what is doubtful about the judgements and texts of a collection, as one stored stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from harness.arrays import Arrays
from harness.diagnosis.bounds import Unknown
from harness.diagnosis.duplicates import queries_in_corpus
from harness.diagnosis.stored import StoredValue
from harness.diagnosis.unjudged import Key, Retrieved, find_unjudged
from harness.diagnosis.values import DataHealth, Reversal
from harness.diagnosis.view import Facts
from harness.plan.plan import Plan
from harness.plan.scoring import Scored
from harness.retrieval.reranking import CrossEncoderScorer, Rerank
from harness.runs.metrics import Metric
from harness.stage import Context
from harness.statistics import mean_interval
from harness.store import Store

_QUEUE = 1000  # unjudged documents that are listed
_DEPTH = 10  # documents whose cross-encoder score is looked up


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a candidate returned on the collection; `family` as of its builder."""

    name: str
    scored: Scored
    family: str | None


@dataclass(frozen=True, eq=False)
class CheckHealth(StoredValue[DataHealth]):
    """Stage: the health of a collection, seen through all candidates of the suite.

    Attributes:
        facts: about the collection.
        metric: that decides.
        candidates: of the suite, in its order.
        pairs: names of candidates whose difference could turn.
    """

    kind = "data-health"
    value = DataHealth

    facts: Facts
    metric: Metric
    candidates: tuple[Candidate, ...]
    pairs: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """What is done."""
        return f"check the judgements of {self.facts.collection.name}"

    def make(self, context: Context) -> tuple[DataHealth, Arrays]:
        """Look at every pair that a candidate returns."""
        store, texts, twins = context.store, self.facts.collection, self.facts.twins
        runs = {each.name: each.scored.run_stage.result(store) for each in self.candidates}
        unknown = Unknown(runs, texts, self.metric)
        retrieved = {
            each.name: Retrieved(runs[each.name], each.family)
            for each in self.candidates
            if each.family is not None
        }
        groups = twins.groups()
        likely = find_unjudged(
            retrieved,
            texts,
            twins={row: twins.of(row) for group in groups for row in group},
            scores=self._scores(retrieved, store),
        )
        health = DataHealth(
            collection=texts.name,
            bounds=unknown.bounds(),
            reversible=sorted(self._reversals(unknown, store), key=lambda each: each.needed),
            unjudged=likely[:_QUEUE],
            more_unjudged=len(likely[_QUEUE:]),
            duplicate_groups=[[texts.document_ids[row] for row in group] for group in groups],
            leaks=queries_in_corpus(texts),
        )
        return health, {}

    def _reversals(self, unknown: Unknown, store: Store) -> Iterator[Reversal]:
        """Yield what turns each difference that shows clearly."""
        scored = {each.name: each.scored for each in self.candidates}
        for pair in self.pairs:
            one, two = (scored[name].result(store).values[str(self.metric)] for name in pair)
            interval = mean_interval(np.asarray(one - two))
            if interval.low <= 0 <= interval.high:
                continue
            found = unknown.reversal(*pair)
            if found is not None:
                yield found

    def _scores(self, retrieved: Mapping[str, Retrieved], store: Store) -> dict[Key, float]:
        """Return the scores of the first cross-encoder, where it scored the pair, from 0 to 1."""
        stages = (each.scored.run_stage for each in self.candidates)
        scorers = (stage.scorer for stage in stages if isinstance(stage, Rerank))
        scorer = next((each for each in scorers if isinstance(each, CrossEncoderScorer)), None)
        if scorer is None:
            return {}
        judged = self.facts.collection.judgements
        relevant = (judged.grades >= 1) & (judged.documents >= 0)
        parts = [np.stack([judged.queries[relevant], judged.documents[relevant]], axis=1)]
        for each in retrieved.values():
            top = each.run.documents[:, :_DEPTH]
            queries, columns = np.nonzero(top >= 0)
            parts.append(np.stack([queries, top[queries, columns]], axis=1))
        pairs = np.unique(np.concatenate(parts), axis=0).astype(np.int32)
        scores = scorer.known_scores(store, pairs).astype(np.float64)
        known = np.isfinite(scores)
        chances = scorer.chances(scores[known])
        return dict(zip(map(tuple, pairs[known].tolist()), chances.tolist(), strict=True))


def plan_health(plan: Plan, facts: Facts) -> CheckHealth:
    """Return the stage for a collection of a finished plan.

    The differences are those of each candidate to the baseline and to its parents.
    """
    suite = plan.suite
    pairs = {
        frozenset((name, other)): (name, other)
        for name, spec in suite.candidates.items()
        for other in (suite.baseline, *spec.parents)
        if name != other
    }
    return CheckHealth(
        facts=facts,
        metric=suite.deciding_metric,
        candidates=tuple(
            Candidate(
                name=name,
                scored=plan.scored[name, facts.collection.name],
                family=plan.planner.builder(name).family(plan.store),
            )
            for name in suite.candidates
        ),
        pairs=tuple(pairs.values()),
    )
