"""Explain: the diagnosis of one candidate on one collection, as one stored stage."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.arrays import Values
from harness.diagnosis.candidate import diagnose_candidate
from harness.diagnosis.coverage import Training, view_training
from harness.diagnosis.failures import Scanner, keyed, with_reasons
from harness.diagnosis.stored import Made, StoredValue, code_key
from harness.diagnosis.values import CandidateDiagnosis, FailureCluster, TrainingView
from harness.diagnosis.view import View
from harness.plan.plan import Plan
from harness.stage import Context, Work, unkeyed
from harness.store import Store

# What two cores of 2026 took for up to 10,000 queries and 100,000 documents of 120 words.
_SECONDS, _QUERIES_A_SECOND, _DOCUMENTS_A_SECOND = 3.0, 500, 1500


@dataclass(frozen=True, eq=False)
class ExplainCandidate(StoredValue[CandidateDiagnosis]):
    """Stage: why a candidate fails on a collection.

    Attributes:
        plan: finished.
        candidate: by name.
        view: the collection.
        references: candidates that it is compared with, query by query.
        training: what it is known to be trained on, or None.
    """

    kind = "diagnoses"
    value = CandidateDiagnosis

    plan: Plan = field(metadata=unkeyed("`also_keyed` says what is read of it"))
    candidate: str
    view: View
    references: tuple[str, ...]
    training: Training | None

    @property
    def label(self) -> str:
        """What is done."""
        return f"diagnose {self.candidate} on {self.view.collection.name}"

    def also_keyed(self) -> tuple[object, ...]:
        """Return the code, and what is read of the plan."""
        names = (self.candidate, *self.references)
        return (
            code_key(),
            [self.plan.scored[name, self.view.collection.name] for name in names],
            self.plan.suite.deciding_metric,
            self.plan.suite.hit_rank,
            self.plan.suite.diagnosis.discovery,
            self.plan.suite.seed,
        )

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return a rough estimate, beyond what is encoded."""
        texts = self.view.collection
        asked, held = len(texts.queries), len(texts.documents)
        return Work(seconds=_SECONDS + asked / _QUERIES_A_SECOND + held / _DOCUMENTS_A_SECOND)

    def result(self, store: Store) -> CandidateDiagnosis:
        """Return the stored value, with the names of today where vectors and pairs come from."""
        found = super().result(store)
        training = found.training
        if training is not None and self.training is not None:
            training = training.model_copy(update={"source": self.training.source})
        return found.model_copy(update={"neutral": self.view.neutral.words, "training": training})

    def make(self, context: Context) -> Made[CandidateDiagnosis]:
        """Explain the losses, scan them for clusters, and look at the training pairs."""
        view, k = self.view, self.plan.suite.hit_rank
        found = diagnose_candidate(self.plan, context, self.candidate, view.facts, k=k)
        losses = found.queries.losses
        scanner = Scanner(
            view,
            self.plan.scored[self.candidate, view.collection.name].run_stage.result(context.store),
            discovery=self.plan.suite.diagnosis.discovery,
            seed=self.plan.suite.seed,
        )
        label = f"look for failure clusters of {self.candidate} on {view.collection.name}"
        scans = 2 + len(self.references)
        with context.progress.task(label, total=scans, unit="scans") as advance:
            scanned, clusters = scanner.losses(losses)
            advance(1)
            for reference in self.references:
                its = self._losses_of(reference, context.store)
                clusters += scanner.differences(losses, reference, its)
                advance(1)
            clusters = keyed(clusters + scanner.documents(k=k))
            advance(1)
        clusters = with_reasons(clusters, found.queries.shows, view.collection.query_ids)
        value = CandidateDiagnosis(
            candidate=self.candidate,
            collection=view.collection.name,
            n=len(losses),
            stages=found.stages,
            gap=found.gap,
            neutral=view.neutral.words,
            detectable=scanned.detectable,
            clusters=clusters,
            findings=found.findings,
            space=found.space,
            training=self._training(clusters, context.store),
            warnings=found.warnings,
        )
        columns = {
            "stages": found.queries.stages,
            "ranks": found.queries.ranks_after,
            "losses": losses,
            "missed": found.queries.missed,
        }
        return Made(value, columns)

    def _losses_of(self, name: str, store: Store) -> Values:
        card = self.plan.scored[name, self.view.collection.name].first(store)
        return np.asarray(1 - card.values[str(self.plan.suite.deciding_metric)])

    def _training(self, clusters: list[FailureCluster], store: Store) -> TrainingView | None:
        if self.training is None:
            return None
        view = self.view
        return view_training(
            self.training,
            view.collection,
            view.query_vectors,
            [cluster for cluster in clusters if cluster.mode == "loss"],
            (view.relevant_documents, view.document_vectors),
            store=store,
        )
