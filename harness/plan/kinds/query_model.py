"""Query model: the documents of one model, asked with the vectors of another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.plan.candidates import DenseBuilder, Planner
from harness.plan.dense import DenseModel, loading_problems
from harness.plan.kinds.api import ApiBuilder, served_problems
from harness.plan.kinds.dense import ModelBuilder
from harness.retrieval.encoding import Encode
from harness.suite.kinds.api import Api
from harness.suite.kinds.query_model import (
    ApiAsked,
    DenseAsked,
    QueryModel,
    QuerySpec,
    query_side,
)


class QueryModelBuilder(DenseBuilder[QueryModel]):
    """The parent's documents, asked with vectors of another model."""

    def dense(self) -> DenseModel:
        """Return the parent's model with another for its queries."""
        return _asked(self, self.planner.dense(self.spec.parent), self.spec.query_model)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the model of the queries, or between the two."""
        yield from _query_problems(self, self.spec.query_model)


class DenseAskedBuilder(ModelBuilder):
    """A bi-encoder for documents, another model for queries."""

    spec: DenseAsked

    def dense(self) -> DenseModel:
        """Return the model of the documents with another for its queries."""
        return _asked(self, super().dense(), self.spec.query_model)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with either model, or between the two."""
        yield from super().problems()
        yield from _query_problems(self, self.spec.query_model)


class ApiAskedBuilder(ApiBuilder):
    """The same, with documents at a provider."""

    spec: ApiAsked

    def dense(self) -> DenseModel:
        """Return the model of the documents with another for its queries."""
        return _asked(self, super().dense(), self.spec.query_model)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with either model, or between the two."""
        yield from super().problems()
        yield from _query_problems(self, self.spec.query_model)


def _published(builder: DenseBuilder[Any], named: QuerySpec) -> ModelBuilder | ApiBuilder:
    """Return what builds the model of a candidate's queries."""
    planner = builder.planner
    spec = query_side(named, planner.suite.candidates)
    if isinstance(spec, Api):
        return ApiBuilder(planner, builder.name, spec)
    return ModelBuilder(planner, builder.name, spec)


def _asked(builder: DenseBuilder[Any], documents: DenseModel, named: QuerySpec) -> DenseModel:
    """Return a model of documents with another for its queries."""
    found = _published(builder, named)
    queries = replace(found.dense(), owner=found.spec.model)
    return replace(documents, owner=builder.name, asked=queries)


def _query_problems(builder: DenseBuilder[Any], named: QuerySpec) -> Iterator[str]:
    """Yield what is wrong with the model of the queries, or why its vectors do not fit."""
    planner, found = builder.planner, _published(builder, named)
    dense = planner.dense(builder.name)
    queries = dense.query_side
    if None not in (dense.dimension, queries.dimension) and dense.dimension != queries.dimension:
        yield (
            f"query_model: '{queries.owner}' has vectors of {queries.dimension} dimensions, and "
            f"the documents of {dense.dimension}. Name a model that shares the documents' space."
        )
    if isinstance(found, ModelBuilder):
        yield from loading_problems(found.weights, found.spec, planner.device)
    else:
        yield from served_problems(
            builder, [planner.encodes(builder.name, place)[1] for place in planner.collections]
        )


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
