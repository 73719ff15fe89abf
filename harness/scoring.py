"""Scoring: the scorecard of a stored run, kept so that a second look computes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from harness.collection import Collection
from harness.context import document_tokens
from harness.hashing import digest
from harness.metrics import Metric, Scorecard, score
from harness.run_stage import RunStage
from harness.stage import Context, StoredStage
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

    def key(self, store: Store) -> str | None:
        """Key of the scorecard."""
        run = self.run_stage.key(store)
        if run is None:
            return None
        names = [str(metric) for metric in self.metrics]
        lengths = self.collection.documents_key if self._in_tokens else None
        return digest("scorecard", 1, run, self.collection.judgements_key, names, lengths)

    @property
    def _in_tokens(self) -> bool:
        return any(metric.in_tokens for metric in self.metrics)

    def run(self, context: Context) -> None:
        """Score the stored run."""
        key = self.ready_key(context.store)
        card = score(
            self.run_stage.result(context.store),
            self.collection.judgements,
            self.metrics,
            n_queries=len(self.collection.queries),
            tokens=document_tokens(self.collection.documents) if self._in_tokens else None,
        )
        context.store.put(
            self.kind,
            key,
            arrays={**card.values, "judged_at_10": card.judged_at_10, "missing": card.missing},
            meta={"label": self.label},
        )

    def result(self, store: Store) -> Scorecard:
        """Return the stored scorecard."""
        artifact = self.stored(store)
        return Scorecard(
            values={str(metric): artifact.array(str(metric)) for metric in self.metrics},
            judged_at_10=artifact.array("judged_at_10"),
            missing=artifact.array("missing"),
        )
