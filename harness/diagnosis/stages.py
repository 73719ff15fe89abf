"""Stages: at which step of retrieval each query was lost, exactly, and what each step costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from harness.arrays import Values
from harness.collection import Judgements
from harness.diagnosis.standing import Standing
from harness.diagnosis.values import GapSplit, LossStage, StageCount
from harness.runs.context import document_tokens
from harness.runs.headroom import perfect_order, split_gap
from harness.runs.metrics import Metric, score
from harness.runs.run import Run

Stages = npt.NDArray[np.str_]

DEEP = 1000


def name_stages(first: Standing, last: Standing, *, k: int, depth: int, reranked: bool) -> Stages:
    """Return the stage of every query, one of `Stage`.

    Args:
        first: before reranking.
        last: in the final run; equal to `first` where nothing is reranked.
        k: rank down to which a query counts as a hit.
        depth: documents that a reranker orders, or would order.
        reranked: whether one does.
    """
    retrieved = last.within(k)
    if reranked:
        conditions = [
            first.documents < 0,
            retrieved,
            first.within(min(k, depth)),
            first.within(depth),
            first.within(DEEP),
        ]
        names: list[LossStage] = ["absent", "retrieved", "rerank-harm", "rerank-miss", "deep"]
    else:
        conditions = [first.documents < 0, retrieved, first.within(depth), first.within(DEEP)]
        names = ["absent", "retrieved", "rerankable", "deep"]
    return np.select(conditions, names, default="lost")


def count_stages(stages: Stages) -> list[StageCount]:
    """Count the queries of every stage that occurs, in the order of `Stage`."""
    counts = ((stage, int((stages == stage).sum())) for stage in get_args(LossStage))
    return [StageCount(stage=stage, n=n, share=n / len(stages)) for stage, n in counts if n]


def split_loss(
    run: Run, judgements: Judgements, metric: Metric, *, depth: int, documents: Sequence[str]
) -> GapSplit:
    """Split the distance of a run's mean score from 1, exactly.

    Args:
        run: as scored.
        judgements: of its queries.
        metric: whose mean.
        depth: documents that a perfect reranker would order; at least as many as the metric sees.
        documents: texts, whose length counts for metrics in tokens.
    """
    if not metric.in_tokens:
        depth = max(depth, metric.cutoff)
    tokens = document_tokens(documents) if metric.in_tokens else None
    ideal = perfect_order(run, judgements, depth=depth)

    def values(of: Run) -> Values:
        card = score(of, judgements, [metric], n_queries=len(of.documents), tokens=tokens)
        return card.values[str(metric)]

    achieved = values(run)
    # A prompt filled by grade is not always the best filled one; the run itself is one order too.
    gap = split_gap(achieved, np.maximum(achieved, values(ideal)), depth=depth)
    return GapSplit(
        achieved=gap.achieved,
        ordering_loss=gap.ordering_loss,
        first_stage_loss=gap.first_stage_loss,
        depth=gap.depth,
    )
