"""Dense models: how each candidate with vectors makes them, and what is doubtful about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.arrays import Rows
from harness.collection import Collection
from harness.models.biencoder import Side
from harness.models.engines import Arithmetic
from harness.models.source import ModelSource
from harness.models.weights import Weights
from harness.providers.embedding import Embedder
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.latency import SearchQuery, Step
from harness.retrieval.precision import engine_problems, open_or_named
from harness.retrieval.remote import RemoteEncode
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.retrieval.space import Space, VectorSource
from harness.suite.kinds.dense import Dense
from harness.suite.kinds.rerank import RerankSpec
from harness.suite.spec import Suite
from harness.suite.table import Similarity

# A hub's model that is not in the local cache: fetch it, refuse it, or plan without its weights.
Hub = Literal["fetch", "refuse", "later"]

_SIDES: tuple[Side, Side] = ("query", "document")


@dataclass(frozen=True)
class DenseModel:
    """How a candidate with vectors makes them.

    Attributes:
        owner: the candidate that brings the weights or the vector files; truncations share them.
        model: the weights; None where vectors are given.
        prompts: of query and document.
        max_length: while encoding.
        similarity: of the vectors.
        dimension: full width; None where it is known only after the download.
        width: dimensions used; None for all.
        trained_widths: Matryoshka widths that the model is said to be trained for.
        arithmetics: that it may be computed in; of several, a probe takes one.
        texts: about how many the suite has for it.
    """

    owner: str
    model: ModelSource | None
    prompts: tuple[str, str]
    max_length: int | None
    similarity: Similarity
    dimension: int | None
    width: int | None
    trained_widths: tuple[int, ...]
    arithmetics: tuple[Arithmetic, ...]
    texts: int

    def encode(self, role: Side, texts: Texts) -> Encode:
        """Return the stage that encodes texts at full width.

        Raises:
            TypeError: the vectors are given.
        """
        if self.model is None:
            raise TypeError(f"{self.owner} encodes nothing")
        if isinstance(self.model, Embedder):
            side = _SIDES.index(role)
            return RemoteEncode(
                name=self.owner,
                model=self.model,
                role=role,
                prompt=self.prompts[side],
                dtype="float32",
                max_length=self.max_length,
                texts=texts,
                input_type=self.model.input_types[side],
            )
        plain = tuple(
            Encode(self.owner, self.model, side, prompt, "float32", self.max_length, Texts("", ()))
            for side, prompt in zip(_SIDES, self.prompts, strict=True)
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
        """Return the stage that searches a space of these vectors.

        Args:
            name: for people.
            space: as of `space`.
            collection: whose texts they are.
            depth: ranks.
            forbidden: int32 [n_queries], rows that queries must not be given, or None.
        """
        return Search(name, space, ids_key(collection), depth, forbidden)

    def search_steps(
        self, name: str, space: Space, collection: Collection, *, device: str, depth: int
    ) -> tuple[Step, ...]:
        """Return what a query takes once it is encoded."""
        return (SearchQuery(name, collection, device, space, depth),)


def loading_problems(
    weights: Weights | None, spec: Dense | RerankSpec, device: str
) -> Iterator[str]:
    """Yield what is wrong with how a suite lets a model be loaded and computed.

    More tokens may be asked for than the model has positions for, or an engine that cannot.
    """
    yield from engine_problems(spec.dtype, spec.engine, device, weights)
    positions = weights.positions if weights is not None else None
    if spec.max_length is not None and positions is not None and spec.max_length > positions:
        yield (
            f"max_length = {spec.max_length}: '{spec.model}' has positions for {positions} tokens. "
            f"Give at most {positions}."
        )


def collection_file(suite: Suite, pattern: str, collection: Collection) -> Path:
    """Return the file that a path with ``{collection}`` names for a collection."""
    return suite.locate(pattern.replace("{collection}", collection.name))


def ids_key(collection: Collection) -> str:
    """Return the content key of the ids, whose order breaks ties, and the texts."""
    return f"{collection.documents_key}{collection.queries_key}"
