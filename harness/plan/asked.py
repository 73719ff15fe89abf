"""Asked: the queries as the model of the documents encodes them, where another model answers."""

from __future__ import annotations

from dataclasses import replace

from harness.plan.candidates import Planner
from harness.plan.dense import DenseModel
from harness.retrieval.encoding import Encode


def own_queries(planner: Planner, name: str, collection: str) -> tuple[Encode, ...]:
    """Return the stage that encodes the queries with the model of the documents, to compare, where
    a candidate has another model for its queries; else none.
    """
    dense = planner.models[name]
    if not isinstance(dense, DenseModel) or dense.asked is None:
        return ()
    parents = planner.suite.candidates[dense.owner].parents
    if not parents:
        alone = replace(dense, asked=None)
        return (alone.encode("query", planner.texts(collection, "query")),)
    above = own_queries(planner, parents[0], collection)
    return above or planner.encodes(parents[0], collection)[1:]
