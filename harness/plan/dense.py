"""Models: how each candidate that encodes texts does so, and what is doubtful about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from harness.arrays import Rows
from harness.collection import Collection
from harness.collection.packed import places_of
from harness.collection.raw import MtebTask
from harness.models import Side
from harness.models.engines import Arithmetic
from harness.models.own import Code
from harness.models.prompts import PLACE
from harness.models.source import ModelSource
from harness.models.weights import Weights
from harness.providers.embedding import Embedder
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.latency import SearchQuery, Step
from harness.retrieval.own import OwnEncode
from harness.retrieval.precision import engine_problems, open_or_named
from harness.retrieval.remote import RemoteEncode
from harness.retrieval.reranking import SpaceScorer, StoredScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.retrieval.shortlists import RankShortlists
from harness.retrieval.space import Space, VectorSource
from harness.suite.kinds.dense import Dense, Prompts
from harness.suite.kinds.rerank import RerankSpec
from harness.suite.spec import Suite
from harness.suite.table import Similarity

# A hub's model that is not in the local cache: fetch it, refuse it, or plan without its weights.
Hub = Literal["fetch", "refuse", "later"]

_SIDES: tuple[Side, Side] = ("query", "document")

SpaceT = TypeVar("SpaceT")  # the space of what it encodes, both sides of a collection


@dataclass(frozen=True)
class TextModel(ABC, Generic[SpaceT]):
    """How a candidate encodes texts.

    Attributes:
        owner: the candidate that brings the weights or the vector files; truncations share them.
        model: the weights; None where vectors are given.
        prompts: of query and document.
        max_length: tokens while encoding; None takes the model's own limit.
        instruction: that stands in the query prompt where a collection has none; None for none.
    """

    owner: str
    model: ModelSource | None
    prompts: tuple[str, str]
    max_length: int | None
    instruction: str | None = field(default=None, kw_only=True)

    @property
    def query_side(self) -> TextModel[SpaceT]:
        """What encodes the queries: itself, unless another model does."""
        return self

    @property
    def is_asymmetric(self) -> bool:
        """Whether another model encodes the queries."""
        return self.query_side is not self

    @property
    def is_instructed(self) -> bool:
        """Whether the prompt of queries holds the instruction of their collection."""
        return PLACE in self.query_side.prompts[0]

    def prompts_with(self, instruction: str | None) -> tuple[str, str]:
        """Return the prompts of query and document for texts with an instruction."""
        side = self.query_side
        told = instruction or side.instruction or ""
        return side.prompts[0].replace(PLACE, told), self.prompts[1]

    @abstractmethod
    def encode(self, role: Side, texts: Texts) -> Encode:
        """Return the stage that encodes texts.

        Raises:
            TypeError: the vectors are given.
        """

    @abstractmethod
    def space(self, documents: Any, queries: Any) -> SpaceT:
        """Return the space that is searched, of both sides as they are encoded."""

    @abstractmethod
    def search(
        self,
        name: str,
        space: SpaceT,
        collection: Collection,
        *,
        depth: int,
        forbidden: Rows | None = None,
    ) -> RunStage:
        """Return the stage that searches a space.

        Args:
            name: for people.
            space: as of `space`.
            collection: whose texts they are.
            depth: ranks.
            forbidden: int32 [n_queries], rows that queries must not be given, or None.
        """

    @abstractmethod
    def search_steps(
        self, name: str, space: SpaceT, collection: Collection, *, device: str, depth: int
    ) -> tuple[Step, ...]:
        """Return what a query takes once it is encoded."""

    @abstractmethod
    def scorer(self, space: SpaceT) -> StoredScorer:
        """Return what scores given documents in a space."""


@dataclass(frozen=True)
class DenseModel(TextModel[Space]):
    """How a candidate with vectors makes them.

    Attributes:
        similarity: of the vectors.
        dimension: full width; None where it is known only after the download.
        width: dimensions used; None for all.
        trained_widths: Matryoshka widths that the model is said to be trained for.
        arithmetics: that it may be computed in; of several, a probe takes one.
        texts: about how many the suite has for it.
        asked: what encodes the queries where another model does; None where this one does.
    """

    similarity: Similarity
    dimension: int | None
    width: int | None
    trained_widths: tuple[int, ...]
    arithmetics: tuple[Arithmetic, ...]
    texts: int
    asked: DenseModel | None = field(default=None, kw_only=True)

    @property
    def query_side(self) -> DenseModel:
        """What encodes the queries."""
        return self if self.asked is None else self.asked

    def encode(self, role: Side, texts: Texts) -> Encode:
        """Return the stage that encodes texts at full width.

        Raises:
            TypeError: the vectors are given.
        """
        if self.asked is not None and role == "query":
            return self.asked.encode(role, texts)
        if self.model is None:
            raise TypeError(f"{self.owner} encodes nothing")
        prompts = replace(self, asked=None).prompts_with(texts.instruction)
        if isinstance(self.model, Embedder):
            side = _SIDES.index(role)
            return RemoteEncode(
                name=self.owner,
                model=self.model,
                role=role,
                prompt=prompts[side],
                dtype="float32",
                max_length=self.max_length,
                texts=texts,
                input_type=self.model.input_types[side],
            )
        if isinstance(self.model, Code):
            return OwnEncode(self.owner, self.model, role, "", "float32", None, texts)
        plain = tuple(
            Encode(self.owner, self.model, side, prompt, "float32", self.max_length, Texts("", ()))
            for side, prompt in zip(_SIDES, prompts, strict=True)
        )
        dtype = open_or_named(
            self.arithmetics, self.owner, self.model, self.max_length, texts=self.texts, kept=plain
        )
        return replace(plain[_SIDES.index(role)], dtype=dtype, texts=texts)

    def space(self, documents: VectorSource, queries: VectorSource) -> Space:
        """Return the space that is searched, of the full vectors of both sides."""
        return Space(documents, queries, self.similarity, self.width)

    def search(
        self,
        name: str,
        space: Space,
        collection: Collection,
        *,
        depth: int,
        forbidden: Rows | None = None,
    ) -> RunStage:
        """Return the stage that searches a space of these vectors."""
        return Search(name, space, ids_key(collection), depth, forbidden)

    def search_steps(
        self, name: str, space: Space, collection: Collection, *, device: str, depth: int
    ) -> tuple[Step, ...]:
        """Return what a query takes once it is encoded."""
        return (SearchQuery(name, collection, device, space, depth),)

    def scorer(self, space: Space) -> StoredScorer:
        """Return the similarity in a space."""
        return SpaceScorer(space)


def given_prompts(weights: Weights | None, given: Prompts) -> tuple[str, str]:
    """Return the prompts of query and document: those of the suite, else what a model declares."""
    declared = weights.prompts if weights is not None else {}
    return (
        declared.get("query", "") if given.query is None else given.query,
        declared.get("document", "") if given.document is None else given.document,
    )


def loading_problems(
    weights: Weights | None, spec: Dense | RerankSpec, device: str
) -> Iterator[str]:
    """Yield what is wrong with how a suite lets a model be loaded and computed.

    More tokens may be asked for than the model has positions for, or an engine that cannot.
    """
    yield from engine_problems(spec.dtype, spec.engine, device, weights)
    yield from length_problems(weights, str(spec.model), spec.max_length)


def length_problems(weights: Weights | None, model: str, max_length: int | None) -> Iterator[str]:
    """Yield a sentence where more tokens are asked for than the model has positions for."""
    if weights is None or weights.positions is None or max_length is None:
        return
    if max_length > weights.positions:
        yield (
            f"max_length = {max_length}: '{model}' has positions for {weights.positions} tokens. "
            f"Give at most {weights.positions}."
        )


def uninstructed(model: TextModel[Any], suite: Suite) -> Iterator[str]:
    """Yield what is missing where a query prompt holds an instruction and a collection has none."""
    lacking = [name for name, spec in suite.collections.items() if spec.instruction is None]
    if model.is_instructed and model.query_side.instruction is None and lacking:
        shown = ", ".join(f"[collections.{name}]" for name in lacking)
        yield (
            f"the query prompt {model.query_side.prompts[0]!r} holds {PLACE}, but none is set. "
            f'Add instruction = "…" to {shown}.'
        )


def unused_instructions(
    models: Iterable[TextModel[Any]], suite: Suite, tasks: Mapping[str, MtebTask]
) -> list[str]:
    """Return a sentence for each collection whose instruction no model reads.

    Args:
        models: of all candidates.
        suite: the question.
        tasks: of mteb, by collection, which bring instructions whether they are read or not.
    """
    if any(model.is_instructed for model in models):
        return []
    return [
        f"collection '{name}': no candidate uses its instruction. Put {{instruction}} into a "
        "candidate's prompts = { query = … }, or remove the instruction."
        for name, spec in suite.collections.items()
        if spec.instruction is not None and name not in tasks
    ]


def query_prompts(model: TextModel[Any] | None, suite: Suite) -> dict[str, str]:
    """Return what is put before the queries of each collection; empty where it is one prompt."""
    if model is None or not model.is_instructed:
        return {}
    specs = suite.collections.items()
    return {name: model.prompts_with(spec.instruction)[0] for name, spec in specs}


def collection_file(suite: Suite, pattern: str, collection: Collection) -> Path:
    """Return the file that a path with ``{collection}`` names for a collection."""
    return suite.locate(pattern.replace("{collection}", collection.name))


def ids_key(collection: Collection) -> str:
    """Return the content key of the ids, whose order breaks ties, and the texts."""
    return f"{collection.documents_key}{collection.queries_key}"


def ranked(
    model: TextModel[Any], label: str, space: Any, collection: Collection, *, depth: int
) -> RunStage:
    """Return the stage that searches a space, or ranks each query's shortlist in it.

    Args:
        model: whose space it is.
        label: for people.
        space: of both sides of the collection.
        collection: whose documents are ranked.
        depth: ranks.
    """
    if collection.judgements.shortlists is None:
        forbidden = forbidden_rows(collection)
        return model.search(label, space, collection, depth=depth, forbidden=forbidden)
    scorer = model.scorer(space)
    return RankShortlists(
        label, scorer, ids_key(collection), collection.judgements.shortlists, depth
    )


def forbidden_rows(collection: Collection) -> Rows | None:
    """Return the row of the document with each query's id, or -1; None if all may be returned."""
    if not collection.exclude_identical_ids:
        return None
    return places_of(collection.document_ids, collection.query_ids).astype(np.int32)


def shortlist_problems(collections: Mapping[str, Collection]) -> Iterator[str]:
    """Yield what keeps a candidate that searches whole corpora from ranking given lists."""
    for name, collection in collections.items():
        if collection.judgements.shortlists is not None:
            yield (
                f"it searches a whole corpus, and [collections.{name}] gives each query a list of "
                "documents to rank. Remove it, or score it in a suite without that collection."
            )
