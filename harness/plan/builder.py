"""Builder: what each kind of candidate makes of its table, as models, spaces, runs and steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import numpy as np

from harness.arrays import Rows
from harness.collection import Collection
from harness.plan.dense import DenseModel, TextModel
from harness.retrieval.encoding import Texts
from harness.retrieval.latency import EncodeQuery, Step
from harness.retrieval.remote import RemoteEncode, RemoteQuery
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import VectorSource
from harness.store import Store
from harness.suite.kinds.kind import CandidateSpec
from harness.training.finetune import Train
from harness.training.mining import Examples, PairScorer
from harness.training.reranker import TrainReranker

if TYPE_CHECKING:
    from harness.plan.candidates import Planner

# The steps of answering one query; None for what is done elsewhere.
Steps = tuple[Step | None, ...]
S = TypeVar("S", bound=CandidateSpec)


class FirstStage(NamedTuple):
    """The search that finds negatives, and what scores the relevant documents alike."""

    run: RunStage
    scorer: PairScorer


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

    def model(self) -> TextModel[Any] | None:
        """Return how it encodes texts; None where it does not.

        Raises:
            HarnessError: it cannot be worked out.
        """
        return None

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
        instruction: str | None = None,  # noqa: ARG002
    ) -> FirstStage:
        """Return the search for hard negatives in a collection of training data.

        Args:
            collection: what is searched.
            source: how progress names it.
            depth: ranks.
            instruction: of the queries.

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
class EncodingBuilder(Builder[S]):
    """A candidate that searches what it encodes."""

    @abstractmethod
    def model(self) -> TextModel[Any]:
        """Return how it encodes texts."""

    def sides(self, collection: Collection) -> tuple[VectorSource, VectorSource]:
        """Return the stages that encode documents and queries with its weights."""
        return self.planner.encodes(self.name, collection.name)

    def run(self, collection: Collection) -> RunStage:
        """Return the search."""
        return self.planner.models[self.name].search(
            self.label(collection),
            self.planner.space(self.name, collection.name),
            collection,
            depth=self.planner.depth,
            forbidden=forbidden_rows(collection),
        )

    def steps(self, collection: Collection) -> Steps:
        """Return the encoding of a query with the owner's weights, and the search."""
        planner = self.planner
        model = planner.models[self.name]
        search = model.search_steps(
            self.label(collection),
            planner.space(self.name, collection.name),
            collection,
            device=planner.device,
            depth=planner.depth,
        )
        if model.owner != self.name:
            return (planner.steps(model.owner, collection.name)[0], *search)
        if model.model is None:
            return (None, *search)
        encode = planner.encodes(self.name, collection.name)[1]
        label = self.label(collection)
        if isinstance(encode, RemoteEncode):
            return (RemoteQuery(label, collection, planner.device, encode), *search)
        return (EncodeQuery(label, collection, planner.device, encode), *search)


@dataclass(frozen=True)
class DenseBuilder(EncodingBuilder[S]):
    """A candidate that searches vectors of whole texts."""

    @abstractmethod
    def dense(self) -> DenseModel:
        """Return how it makes vectors."""

    def model(self) -> DenseModel:
        """Return how it makes vectors."""
        return self.dense()

    def finds(
        self, collection: Collection, source: str, *, depth: int, instruction: str | None = None
    ) -> FirstStage:
        """Return the search of a collection of training data by vectors."""
        model = self.planner.dense(self.name)
        space = model.space(
            model.encode("document", Texts(source, collection.documents)),
            model.encode("query", Texts(source, collection.queries, instruction)),
        )
        run = model.search(f"{self.name} on {source}", space, collection, depth=depth)
        return FirstStage(run, model.scorer(space))


def forbidden_rows(collection: Collection) -> Rows | None:
    """Return the row of the document with each query's id, or -1; None if all may be returned."""
    if not collection.exclude_identical_ids:
        return None
    rows = {identifier: row for row, identifier in enumerate(collection.document_ids)}
    return np.array([rows.get(key, -1) for key in collection.query_ids], dtype=np.int32)
