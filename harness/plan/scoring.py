"""Scoring: the scorecard of a stored run, kept so that a second look computes nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.collection import Collection
from harness.retrieval.run_stage import RunStage
from harness.runs.context import document_tokens
from harness.runs.metrics import Metric, Scorecard, score
from harness.stage import Context, Keyed, StoredStage
from harness.store import Store


@dataclass(frozen=True, eq=False)
class ScoreRun(StoredStage):
    """Stage: per-query values of all metrics of a run.

    Attributes:
        run_stage: the run.
        collection: whose judgements.
        metrics: which values.
    """

    kind = "scorecards"

    run_stage: RunStage
    collection: Collection
    metrics: tuple[Metric, ...]

    @property
    def label(self) -> str:
        """What is done."""
        return f"score {self.run_stage.name}"

    def run(self, context: Context) -> None:
        """Score the stored run."""
        key = self.ready_key(context.store)
        in_tokens = any(metric.in_tokens for metric in self.metrics)
        card = score(
            self.run_stage.result(context.store),
            self.collection.judgements,
            self.metrics,
            n_queries=len(self.collection.queries),
            tokens=document_tokens(self.collection.documents) if in_tokens else None,
        )
        context.store.put(
            self.kind,
            key,
            arrays={**card.values, "judged_at_10": card.judged_at_10, "missing": card.missing},
            meta={"label": self.label},
        )

    def result(self, store: Store) -> Scorecard:
        """Return the stored scorecard, read once: results are compared in many ways."""
        cards: dict[Store, Scorecard] = self.__dict__.setdefault("_cards", {})
        if store not in cards:
            artifact = self.stored(store)
            cards[store] = Scorecard(
                values={str(metric): artifact.array(str(metric)) for metric in self.metrics},
                judged_at_10=artifact.array("judged_at_10"),
                missing=artifact.array("missing"),
            )
        return cards[store]


@dataclass(frozen=True)
class Scored(Keyed):
    """The scorecards of a candidate on a collection: one, or one for each training seed.

    Attributes:
        stages: by seed, the suite's own first. The first one's run stands for the candidate where
            rankings are looked at.
    """

    stages: tuple[ScoreRun, ...]

    @property
    def run_stage(self) -> RunStage:
        """The run of the first seed."""
        return self.stages[0].run_stage

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Which values."""
        return self.stages[0].metrics

    def first(self, store: Store) -> Scorecard:
        """Return the scorecard of the first seed's run."""
        return self.stages[0].result(store)

    def result(self, store: Store) -> Scorecard:
        """Return the mean over the seeds of each query's values, with those of each seed."""
        cards = [stage.result(store) for stage in self.stages]
        if len(cards) == 1:
            return cards[0]
        by_seed = {
            metric: np.stack([card.values[metric] for card in cards], axis=1)
            for metric in cards[0].values
        }
        return Scorecard(
            values={metric: values.mean(axis=1) for metric, values in by_seed.items()},
            judged_at_10=np.mean([card.judged_at_10 for card in cards], axis=0),
            missing=np.any([card.missing for card in cards], axis=0),
            by_seed=by_seed,
        )
