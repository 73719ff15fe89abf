"""Explain: the diagnosis of one candidate on one collection, as one stored stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from harness.arrays import Arrays, Flags
from harness.diagnosis.coverage import Training, view_training
from harness.diagnosis.failures import Scanner, keyed, with_reasons
from harness.diagnosis.findings import explain, look_for_reasons
from harness.diagnosis.scan import Discovery
from harness.diagnosis.space import look_at_space
from harness.diagnosis.standing import count_stages, split_loss
from harness.diagnosis.stored import StoredValue
from harness.diagnosis.subject import Subject
from harness.diagnosis.values import (
    CandidateDiagnosis,
    FailureCluster,
    Finding,
    GapSplit,
    SpaceHealth,
    StageCount,
    TrainingView,
)
from harness.diagnosis.view import View
from harness.plan.scoring import Scored
from harness.stage import Context, Work
from harness.store import Store

# What two cores of 2026 took for up to 10,000 queries and 100,000 documents of 120 words.
_SECONDS, _QUERIES_A_SECOND, _DOCUMENTS_A_SECOND = 3.0, 500, 1500


class Explanation(NamedTuple):
    """Everything found about one candidate on one collection, but for clusters and data.

    Attributes:
        subject: where each query was lost, and with which loss.
        shows: for each reason, bool [n_queries], whether the query shows it, hit or miss.
    """

    subject: Subject
    shows: Mapping[str, Flags]
    stages: list[StageCount]
    gap: GapSplit
    findings: list[Finding]
    space: SpaceHealth | None
    warnings: list[str]


def explain_losses(subject: Subject, context: Context) -> Explanation:
    """Explain the losses of a candidate.

    Args:
        subject: its run and scorecard are stored.
        context: store, device and progress, for the few texts that counterfactuals encode.
    """
    if not subject.lexical.is_done(context.store):
        subject.lexical.run(context)
    cases, warnings = look_for_reasons(subject, context)
    return Explanation(
        subject=subject,
        shows={case.reason.key: case.signs.shows for case in cases if not case.reason.whole},
        stages=count_stages(subject.stages, subject.lost),
        gap=split_loss(
            subject.run,
            subject.collection.judgements,
            subject.metric,
            depth=subject.depth,
            documents=subject.collection.documents,
        ),
        findings=explain(subject, cases),
        space=look_at_space(subject),
        warnings=warnings,
    )


@dataclass(frozen=True, eq=False)
class ExplainCandidate(StoredValue[CandidateDiagnosis]):
    """Stage: why a candidate fails on a collection.

    Attributes:
        subject: the candidate.
        view: the collection.
        references: candidates that it is compared with, query by query.
        discovery: how strictly clusters are reported.
        training: what it is known to be trained on, or None.
    """

    kind = "diagnoses"
    value = CandidateDiagnosis

    subject: Subject
    view: View
    references: tuple[tuple[str, Scored], ...]
    discovery: Discovery
    training: Training | None

    @property
    def label(self) -> str:
        """What is done."""
        return f"diagnose {self.subject.candidate} on {self.view.collection.name}"

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

    def make(self, context: Context) -> tuple[CandidateDiagnosis, Arrays]:
        """Explain the losses, scan them for clusters, and look at the training pairs."""
        view = self.view
        subject = replace(self.subject)  # what it reads is held no longer than this
        found = explain_losses(subject, context)
        losses = np.asarray(1 - subject.scores)
        scanner = Scanner(
            view, subject.run, subject.after.ranks, discovery=self.discovery, seed=subject.seed
        )
        label = f"scan {view.collection.name} for failure clusters of {subject.candidate}"
        scans = 2 + len(self.references)
        with context.progress.task(label, total=scans, unit="scans") as advance:
            detectable, clusters = scanner.losses(losses)
            advance(1)
            for reference, scored in self.references:
                its = scored.first(context.store).values[str(subject.metric)]
                clusters += scanner.differences(losses, reference, np.asarray(1 - its))
                advance(1)
            clusters = keyed(clusters + scanner.documents(k=subject.k))
            advance(1)
        clusters = with_reasons(clusters, found.shows, view.collection.query_ids)
        value = CandidateDiagnosis(
            candidate=subject.candidate,
            collection=view.collection.name,
            n=len(losses),
            stages=found.stages,
            gap=found.gap,
            neutral=view.neutral.words,
            detectable=detectable,
            clusters=clusters,
            findings=found.findings,
            space=found.space,
            training=self._training(clusters, context.store),
            warnings=found.warnings,
        )
        columns: Arrays = {
            "stages": subject.stages,
            "ranks": subject.after.ranks,
            "losses": losses,
            "missed": subject.missed,
        }
        return value, columns

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
