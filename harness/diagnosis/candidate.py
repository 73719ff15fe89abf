"""Candidate: why one candidate fails on one collection: stages, gap, reasons, space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Values
from harness.diagnosis.facts import Facts
from harness.diagnosis.findings import Case, explain, look_for_reasons
from harness.diagnosis.space import look_at_space
from harness.diagnosis.stages import Stages, count_stages, split_loss
from harness.diagnosis.standing import Ranks
from harness.diagnosis.subject import Subject, read_subject
from harness.diagnosis.values import Finding, GapSplit, SpaceHealth, StageCount
from harness.plan.plan import Plan
from harness.stage import Context


@dataclass(frozen=True, eq=False)
class QueryTable:
    """What is known about every judged query, in the collection's order.

    Attributes:
        stages: str [n], where it was lost.
        ranks: int64 [n], exact rank of the best relevant document before reranking, from 1; 0
            where the candidate does not rank it.
        ranks_after: int64 [n], the same in the run as scored; equal where nothing is reranked.
        best: int32 [n], row of that document; -1 where no relevant document can be found.
        losses: float64 [n], 1 minus the metric.
        missed: bool [n], no relevant document among the first k, though one could be found.
        shows: for each reason, bool [n], whether the query shows it, hit or miss.
    """

    stages: Stages
    ranks: Ranks
    ranks_after: Ranks
    best: Rows
    losses: Values
    missed: npt.NDArray[np.bool_]
    shows: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything found about one candidate on one collection, but for clusters and data."""

    queries: QueryTable
    stages: list[StageCount]
    gap: GapSplit
    findings: list[Finding]
    space: SpaceHealth | None
    warnings: list[str]


def diagnose_candidate(
    plan: Plan,
    context: Context,
    candidate: str,
    facts: Facts,
    *,
    k: int | None = None,
) -> Explanation:
    """Explain the losses of a candidate of a finished plan.

    Args:
        plan: finished.
        context: store, device and progress, for the few texts that counterfactuals encode.
        candidate: by name.
        facts: about the collection: `Facts(plan.collections[name])`, shared by its candidates.
        k: rank down to which a query counts as a hit; None takes the suite's.
    """
    subject = read_subject(plan, candidate, facts, k=k)
    collection = facts.collection
    if not subject.lexical.is_done(context.store):
        subject.lexical.run(context)
    look = look_for_reasons(subject)
    return Explanation(
        queries=_table(subject, look.cases),
        stages=count_stages(subject.stages),
        gap=split_loss(
            subject.run,
            collection.judgements,
            subject.metric,
            depth=subject.depth,
            documents=collection.documents,
        ),
        findings=explain(subject, look.cases, context),
        space=look_at_space(subject),
        warnings=look.warnings,
    )


def _table(subject: Subject, cases: Sequence[Case]) -> QueryTable:
    return QueryTable(
        stages=subject.stages,
        ranks=subject.before.ranks,
        ranks_after=subject.after.ranks,
        best=subject.best,
        losses=np.asarray(1 - subject.scores),
        missed=subject.missed,
        shows={
            case.reason.key: case.signs.shows & case.signs.eligible
            for case in cases
            if not case.reason.whole
        },
    )
