"""Health: what is doubtful about the judgements and texts of a collection, as one stored stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from harness.collection import Collection
from harness.diagnosis.bounds import Unknown
from harness.diagnosis.duplicates import queries_in_corpus
from harness.diagnosis.facts import Facts
from harness.diagnosis.stored import Made, StoredValue, code_key
from harness.diagnosis.unjudged import Key, Retrieved, find_unjudged
from harness.diagnosis.values import DataHealth, Reversal
from harness.plan.plan import Plan
from harness.retrieval.reranking import CrossEncoderScorer, Rerank
from harness.runs.metrics import Metric
from harness.stage import Context, unkeyed
from harness.statistics import mean_interval
from harness.store import Store

_DEPTH = 10  # documents whose cross-encoder score is looked up


@dataclass(frozen=True, eq=False)
class CheckHealth(StoredValue[DataHealth]):
    """Stage: the health of a collection, seen through all candidates of the suite."""

    kind = "data-health"
    value = DataHealth

    plan: Plan = field(metadata=unkeyed("`also_keyed` says what is read of it"))
    facts: Facts

    @property
    def collection(self) -> Collection:
        """Texts and judgements."""
        return self.facts.collection

    @property
    def label(self) -> str:
        """What is done."""
        return f"check the judgements of {self.collection.name}"

    def also_keyed(self) -> tuple[object, ...]:
        """Return the code, and what is read of the plan; names are in the sentences."""
        names = list(self.plan.suite.candidates)
        return (
            code_key(),
            self.collection.name,
            self._metric,
            {name: self.plan.scored[name, self.collection.name] for name in names},
            [self.plan.planner.builder(name).family(self.plan.store) for name in names],
            self._scorers(),
            self.plan.suite.baseline,
        )

    def make(self, context: Context) -> Made[DataHealth]:
        """Look at every pair that a candidate returns."""
        store, texts = context.store, self.collection
        runs = {
            name: self.plan.scored[name, texts.name].run_stage.result(store)
            for name in self.plan.suite.candidates
        }
        unknown = Unknown(runs, texts, self._metric)
        twins = self.facts.twins
        families = {name: self.plan.planner.builder(name).family(store) for name in runs}
        retrieved = {
            name: Retrieved(run, kind)
            for name, run in runs.items()
            if (kind := families[name]) is not None
        }
        groups = twins.groups()
        health = DataHealth(
            collection=texts.name,
            bounds=unknown.bounds(),
            reversible=sorted(self._reversals(unknown, store), key=lambda each: each.needed),
            unjudged=find_unjudged(
                retrieved,
                texts,
                twins={row: twins.of(row) for group in groups for row in group},
                scores=self._scores(retrieved, store),
            ),
            duplicate_groups=[[texts.document_ids[row] for row in group] for group in groups],
            leaks=queries_in_corpus(texts),
        )
        return Made(health)

    @property
    def _metric(self) -> Metric:
        return self.plan.suite.deciding_metric

    def _reversals(self, unknown: Unknown, store: Store) -> Iterator[Reversal]:
        """Yield what turns each difference to the baseline or a parent that shows clearly."""
        suite = self.plan.suite
        against = {
            frozenset((name, other)): (name, other)
            for name, spec in suite.candidates.items()
            for other in (suite.baseline, *spec.parents)
            if name != other
        }
        for name, other in against.values():
            cards = [self.plan.scored[each, self.collection.name] for each in (name, other)]
            one, two = (card.result(store).values[str(self._metric)] for card in cards)
            interval = mean_interval(np.asarray(one - two))
            if interval.low <= 0 <= interval.high:
                continue
            found = unknown.reversal(name, other)
            if found is not None:
                yield found

    def _scorers(self) -> list[CrossEncoderScorer]:
        """Return the cross-encoders that score pairs of the collection, each once."""
        stages = [
            self.plan.scored[name, self.collection.name].run_stage
            for name in self.plan.suite.candidates
        ]
        scorers = [stage.scorer for stage in stages if isinstance(stage, Rerank)]
        return list(dict.fromkeys(each for each in scorers if isinstance(each, CrossEncoderScorer)))

    def _scores(self, retrieved: dict[str, Retrieved], store: Store) -> dict[Key, float]:
        """Return the scores of the first cross-encoder, where it scored the pair, from 0 to 1."""
        scorers = self._scorers()
        if not scorers:
            return {}
        judged = self.collection.judgements
        relevant = (judged.grades >= 1) & (judged.documents >= 0)
        parts = [np.stack([judged.queries[relevant], judged.documents[relevant]], axis=1)]
        for each in retrieved.values():
            top = each.run.documents[:, :_DEPTH]
            queries, columns = np.nonzero(top >= 0)
            parts.append(np.stack([queries, top[queries, columns]], axis=1))
        pairs = np.unique(np.concatenate(parts), axis=0).astype(np.int32)
        scores = scorers[0].known_scores(store, pairs).astype(np.float64)
        known = np.isfinite(scores)
        chances = 1 / (1 + np.exp(-scores[known]))
        keys = map(tuple, pairs[known].tolist())
        return dict(zip(keys, chances.tolist(), strict=True))
