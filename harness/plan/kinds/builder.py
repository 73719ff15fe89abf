"""Builder: what a candidate's kind makes of it: vectors, runs, and the steps of an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from harness.arrays import Rows
from harness.collection import Collection
from harness.plan.dense import DenseModel
from harness.plan.recipes import FirstStage
from harness.retrieval.encoding import Texts
from harness.retrieval.latency import EncodeQuery, Step
from harness.retrieval.reranking import SpaceScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import VectorSource
from harness.store import Store
from harness.suite.kinds.kind import CandidateSpec
from harness.training.finetune import Train
from harness.training.mining import Examples
from harness.training.reranker import TrainReranker

if TYPE_CHECKING:
    from harness.plan.candidates import Planner

S = TypeVar("S", bound=CandidateSpec)

# The steps of answering one query; None for what is done elsewhere.
Steps = tuple[Step | None, ...]


@dataclass(frozen=True)
class Builder(ABC, Generic[S]):
    """One candidate, as its kind builds it. There is a subclass for each kind.

    Attributes:
        planner: that works out all candidates, parents first.
        name: of the candidate.
        spec: its table.
    """

    planner: Planner
    name: str
    spec: S

    def problems(self) -> Iterator[str]:
        """Work out what the candidate names, and yield what is wrong with it.

        Raises:
            HarnessError: it cannot be worked out at all.
        """
        yield from ()

    def doubts(self, stage: RunStage, collection: Collection) -> Iterator[str]:  # noqa: ARG002
        """Yield what is doubtful about the candidate on a collection."""
        yield from ()

    @abstractmethod
    def run(self, collection: Collection) -> RunStage:
        """Return the stage of its run."""

    @abstractmethod
    def steps(self, collection: Collection) -> Steps:
        """Return the steps of answering one query, each once."""

    def dense(self) -> DenseModel:
        """Return how it makes vectors.

        Raises:
            HarnessError: it cannot be worked out.
            TypeError: it makes none.
        """
        raise TypeError(f"{self.name} has no vectors")

    def sides(self, collection: Collection) -> tuple[VectorSource, VectorSource]:  # noqa: ARG002
        """Return the full vectors of documents and queries that it brings.

        Raises:
            TypeError: it brings none.
        """
        raise TypeError(f"{self.name} brings no vectors")

    def finds(
        self,
        collection: Collection,  # noqa: ARG002
        source: str,  # noqa: ARG002
        *,
        depth: int,  # noqa: ARG002
    ) -> FirstStage:
        """Return the search for hard negatives in a collection of training data.

        Args:
            collection: what is searched.
            source: how progress names it.
            depth: ranks.

        Raises:
            TypeError: it does not search by itself.
        """
        raise TypeError(f"{self.name} does not search by itself")

    def training(self) -> Train | TrainReranker | None:
        """Return the stage that trains its own model; None of one that trains none."""
        return None

    def examples(self) -> Examples | None:
        """Return what its own model learns from; None of one that trains none."""
        return None

    def family(self, store: Store) -> str | None:
        """Return what it shares with others that fail alike; None for a mixture of several.

        What is derived belongs to its parent's family: it began as the same vectors.
        """
        [parent] = self.spec.parents or (None,)
        return self.name if parent is None else self.planner.builder(parent).family(store)

    def label(self, collection: Collection) -> str:
        """Return a name for what it does on a collection, for people."""
        return f"{self.name} on {collection.name}"


@dataclass(frozen=True)
class DenseBuilder(Builder[S]):
    """A candidate that searches vectors."""

    @abstractmethod
    def dense(self) -> DenseModel:
        """Return how it makes vectors."""

    def sides(self, collection: Collection) -> tuple[VectorSource, VectorSource]:
        """Return the stages that encode documents and queries with its weights."""
        return self.planner.encodes(self.name, collection.name)

    def run(self, collection: Collection) -> RunStage:
        """Return the search of its vectors."""
        return self.planner.dense(self.name).search(
            self.label(collection),
            self.planner.space(self.name, collection.name),
            collection,
            depth=self.planner.depth,
            forbidden=forbidden_rows(collection),
        )

    def steps(self, collection: Collection) -> Steps:
        """Return the encoding of a query with the owner's weights, and the search."""
        dense, planner = self.planner.dense(self.name), self.planner
        search = dense.search_steps(
            self.label(collection),
            planner.space(self.name, collection.name),
            collection,
            device=planner.device,
            depth=planner.depth,
        )
        if dense.owner != self.name:
            return (planner.steps(dense.owner, collection.name)[0], *search)
        if dense.model is None:
            return (None, *search)
        encode = planner.encodes(self.name, collection.name)[1]
        return (EncodeQuery(self.label(collection), collection, planner.device, encode), *search)

    def finds(self, collection: Collection, source: str, *, depth: int) -> FirstStage:
        """Return the search of a collection of training data by vectors."""
        dense = self.planner.dense(self.name)
        space = dense.space(
            dense.encode("document", Texts(source, collection.documents)),
            dense.encode("query", Texts(source, collection.queries)),
        )
        run = dense.search(f"{self.name} on {source}", space, collection, depth=depth)
        return FirstStage(run, SpaceScorer(space))


def forbidden_rows(collection: Collection) -> Rows | None:
    """Return the row of the document with each query's id, or -1; None if all may be returned."""
    if not collection.exclude_identical_ids:
        return None
    rows = {identifier: row for row, identifier in enumerate(collection.document_ids)}
    return np.array([rows.get(key, -1) for key in collection.query_ids], dtype=np.int32)
