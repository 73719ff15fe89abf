"""Headroom: what a perfect reranker would reach, and where the rest of the score is lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.collection import Judgements
from harness.runs.metrics import Metric, score
from harness.runs.run import Run, rank


class Gap(NamedTuple):
    """The distance of a mean score from 1, split exactly.

    Attributes:
        achieved: the score itself.
        ordering_loss: what a perfect order of the first `depth` documents would add.
        first_stage_loss: what no order of them can add: 1 - achieved - ordering loss.
        depth: documents that a reranker may order.
    """

    achieved: float
    ordering_loss: float
    first_stage_loss: float
    depth: int


def perfect_order(run: Run, judgements: Judgements, *, depth: int) -> Run:
    """Return the first `depth` documents of each query in order of their grades, best first.

    Documents of one grade, and those without a judgement, keep the order of the run.
    """
    documents = np.array(run.documents[:, :depth])
    grades = judgements.grades_of(documents)
    ranks = np.arange(documents.shape[1], 0, -1) / (documents.shape[1] + 1)
    return rank(documents, np.maximum(grades, 0) + ranks, depth=depth)


def oracle(
    run: Run, judgements: Judgements, metric: Metric, *, depth: int, n_queries: int
) -> np.ndarray:
    """Return the metric of every query if its first `depth` documents were in perfect order.

    Returns:
        float64 [n_queries], nowhere below the metric of the run cut at `depth`.
    """
    ideal = perfect_order(run, judgements, depth=depth)
    values: np.ndarray = score(ideal, judgements, [metric], n_queries=n_queries).values[str(metric)]
    return values


def split_gap(achieved: np.ndarray, ceiling: np.ndarray, *, depth: int) -> Gap:
    """Split the gap between a mean score and 1 into ordering and first-stage loss.

    Args:
        achieved: float64 [n_queries], the metric of the run.
        ceiling: float64 [n_queries], `oracle` of the run at `depth`.
        depth: of the oracle.

    >>> split_gap(np.array([0.5, 0.7]), np.array([0.75, 0.85]), depth=50)
    Gap(achieved=0.6, ordering_loss=0.2, first_stage_loss=0.2, depth=50)
    """
    mean, best = float(achieved.mean()), float(ceiling.mean())
    return Gap(mean, round(best - mean, 12), round(1 - best, 12), depth)
