"""Spaces: whether the two models of an asymmetric candidate share one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.plan.dense import DenseModel
from harness.plan.kinds.query_model import own_queries
from harness.plan.plan import Plan
from harness.retrieval.embeddings import unit_length
from harness.retrieval.search import VectorSearch

_COMPARED = 1000  # queries of which the vectors of two models are compared
_SHARED = 0.1  # how much more alike one query's vectors are than those of two, in one space


def dimension_of(plan: Plan, name: str) -> int | None:
    """Return the dimensions of a candidate's vectors, or None where it has none.

    A provider's are known from the stored vectors alone.
    """
    dense = plan.planner.models.get(name)
    if not isinstance(dense, DenseModel):
        return None
    if dense.width or dense.dimension:
        return dense.width or dense.dimension
    stages = (scored.run_stage for (owner, _), scored in plan.scored.items() if owner == name)
    done = (each for each in stages if isinstance(each, VectorSearch) and each.is_done(plan.store))
    return next((each.space.read(plan.store)[0].width for each in done), None)


def spaces_apart(plan: Plan) -> Iterator[str]:
    """Yield a sentence where the two models of a candidate do not share a space.

    They do where their vectors of one query are more alike than those of different queries.
    """
    for name, dense in plan.planner.models.items():
        if not isinstance(dense, DenseModel) or dense.asked is None or dense.owner != name:
            continue
        if name not in plan.suite.candidates:
            continue  # a replica
        for place in plan.collections:
            both = (
                *own_queries(plan.planner, name, place),
                plan.planner.encodes(name, place)[1],
            )
            if not all(each.is_done(plan.store) for each in both):
                continue
            sides = [each.embeddings(plan.store, normalised=True) for each in both]
            rows = np.arange(min(len(sides[0]), _COMPARED))
            one, other = (unit_length(each.take(rows)) for each in sides)
            same = float((one * other).sum(axis=1, dtype=np.float64).mean())
            others = float((one * np.roll(other, 1, axis=0)).sum(axis=1, dtype=np.float64).mean())
            if len(rows) > 1 and same - others < _SHARED:
                yield (
                    f"'{name}': on {place} the vectors of one query by "
                    f"'{dense.asked.owner}' and by the model of the documents have a mean cosine "
                    f"of {same:.2f}, those of different queries {others:.2f} (n={len(rows):,}): "
                    "the two models do not share a vector space. Name a query_model of the same "
                    "family."
                )
