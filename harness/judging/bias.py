"""Bias: how far a model's grades lie from those of people, by their grade and by candidate.

People graded a sample of the pairs with known chances, so that each stands for others: the means
below are about all pairs, and their intervals about all queries like these.
"""

from __future__ import annotations

import numpy as np

from harness.arrays import Clusters, Rows, Values
from harness.collection import NO_GRADE
from harness.judging.estimates import FEWEST_JUDGED, Sample, estimate_difference
from harness.statistics.distributions import t_quantile
from harness.statistics.power import CONFIDENCE
from harness.statistics.units import Units, estimate, units
from harness.value import Value


class GradeBias(Value):
    """What a model says of the documents to which people gave one grade.

    Attributes:
        grade: of people.
        pairs: of them that both graded.
        relevant: share that the model calls relevant (1 or more), over all pairs of that grade.
        low, high: its 95% interval; None where too few queries have such a pair.
        mean: grade of the model.
    """

    grade: int
    pairs: int
    relevant: float
    low: float | None
    high: float | None
    mean: float


class CandidateBias(Value):
    """The metric of a candidate by the model's grades alone, minus that by people's.

    Attributes:
        candidate: name.
        bias, low, high: mean and 95% interval; None where too few queries are judged.
    """

    candidate: str
    bias: float | None
    low: float | None
    high: float | None


def bias_by_grade(
    chances: Values, people: Rows, model: Rows, clusters: Clusters | None
) -> list[GradeBias]:
    """Return what a model says where people gave each grade.

    Args:
        chances: float64 [n_queries, width], with which each pair was graded by people.
        people: int32 [n_queries, width], their grades, `NO_GRADE` where there is none.
        model: the same of the model.
        clusters: int [n_queries], or None.
    """
    both = (people != NO_GRADE) & (model != NO_GRADE)
    weights = np.divide(1.0, chances, out=np.zeros_like(chances), where=both)
    found = []
    for grade in np.unique(people[both]).tolist():
        part = np.where(people == grade, weights, 0.0)
        rows = part.any(axis=1)
        columns = np.stack(
            [(part * (model >= 1)).sum(axis=1), (part * model).sum(axis=1), part.sum(axis=1)],
            axis=1,
        )[rows]
        sums = units(columns, None if clusters is None else clusters[rows]).sums
        sample = estimate(Units(sums[:, :2], sums[:, 2]))
        relevant, half = float(sample.mean[0]), None
        if len(sums) >= FEWEST_JUDGED:
            half = t_quantile((1 + CONFIDENCE) / 2, sample.dof) * float(sample.se[0])
            half = half or 1 - ((1 - CONFIDENCE) / 2) ** (1 / len(sums))  # all alike: binomial
        found.append(
            GradeBias(
                grade=grade,
                pairs=int((both & (people == grade)).sum()),
                relevant=relevant,
                low=None if half is None else max(0.0, relevant - half),
                high=None if half is None else min(1.0, relevant + half),
                mean=float(sample.mean[1]),
            )
        )
    return found


def bias_by_candidate(
    sample: Sample, names: list[str], scores: Values, clusters: Clusters | None
) -> list[CandidateBias]:
    """Return what the model's grades add to the metric of each candidate.

    Args:
        sample: what people judged.
        names: of the candidates.
        scores: float64 [n_queries, width + 1, n_candidates], with the model's grades in the place
            of what people did not judge.
        clusters: int [n_queries], or None.
    """
    found = []
    for place, name in enumerate(names):
        corrected = scores[..., place] - scores[:, :1, place]
        each = estimate_difference(sample, corrected, clusters=clusters)
        is_known = bool(np.isfinite(each.se))
        found.append(
            CandidateBias(
                candidate=name,
                bias=-each.difference if is_known else None,
                low=-each.high if is_known else None,
                high=-each.low if is_known else None,
            )
        )
    return found
