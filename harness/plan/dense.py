"""Dense models: how each candidate with vectors makes them, and what is doubtful about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.arrays import Rows
from harness.collection import Collection
from harness.models.biencoder import Side
from harness.models.weights import NotDownloadedError, Weights, find_weights
from harness.plan.recipes import Recipes
from harness.retrieval.encoding import Encode, ModelSource, Texts
from harness.retrieval.latency import SearchQuery, Step
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.retrieval.space import Space, VectorSource
from harness.suite.inputs import Inputs
from harness.suite.kinds.dense import Dense
from harness.suite.kinds.rerank import RerankSpec
from harness.suite.spec import Suite
from harness.suite.table import Similarity
from harness.training.data import TrainingData
from harness.training.reading import TrainingSources

if TYPE_CHECKING:
    from harness.plan.kinds.builder import Builder

# A hub's model that is not in the local cache: fetch it, refuse it, or plan without its weights.
Hub = Literal["fetch", "refuse", "later"]


@dataclass(frozen=True)
class DenseModel:
    """How a candidate with vectors makes them.

    Attributes:
        owner: the candidate that brings the weights or the vector files; truncations share them.
        model: the weights; None where vectors are given.
        prompts: of query and document.
        dtype, max_length: while encoding.
        similarity: of the vectors.
        dimension: full width; None where it is known only after the download.
        width: dimensions used; None for all.
        trained_widths: Matryoshka widths that the model is said to be trained for.
    """

    owner: str
    model: ModelSource | None
    prompts: tuple[str, str]
    dtype: str
    max_length: int | None
    similarity: Similarity
    dimension: int | None
    width: int | None
    trained_widths: tuple[int, ...]

    def encode(self, role: Side, texts: Texts) -> Encode:
        """Return the stage that encodes texts at full width.

        Raises:
            TypeError: the vectors are given.
        """
        if self.model is None:
            raise TypeError(f"{self.owner} encodes nothing")
        return Encode(
            name=self.owner,
            model=self.model,
            role=role,
            prompt=self.prompts[0 if role == "query" else 1],
            dtype=self.dtype,
            max_length=self.max_length,
            texts=texts,
        )

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


class DenseModels:
    """Keeps the candidates with vectors, and every model's weights once.

    Args:
        suite: the question.
        inputs: its collections.
        hub: what to do about a hub's model that is not in the local cache.
        asked: returns the queries that a language model wrote, or None.
        builder: returns the builder of a candidate.
        seeds: training seed of each candidate.

    Attributes:
        models: what was resolved, by candidate.
        recipes: what trainings learn from.
        warnings: what is doubtful, each a sentence.
        leaked: of a candidate whose training gives away scored queries, sentences that say so.
        sources: of training data.
    """

    def __init__(
        self,
        suite: Suite,
        inputs: Inputs,
        *,
        hub: Hub,
        asked: Callable[[str], TrainingData | None],
        builder: Callable[[str], Builder[Any]],
        seeds: Mapping[str, int],
    ) -> None:
        self.models: dict[str, DenseModel] = {}
        self.warnings: list[str] = []
        self.leaked: dict[str, tuple[str, ...]] = {}
        self._suite = suite
        self._inputs = inputs
        self._hub = hub
        self.sources = TrainingSources(suite, inputs, asked=asked)
        self.recipes = Recipes(suite, inputs, self, builder=builder, seeds=seeds)
        self._weights: dict[tuple[str, str | None], Weights | None] = {}

    def found_weights(self) -> list[Weights | None]:
        """Return every model that was looked for; None where it is not downloaded yet."""
        return list(self._weights.values())

    def find_weights(self, reference: str, revision: str | None) -> Weights | None:
        """Return a model's weights; None for a hub's model that is planned before its download."""
        place = (reference, revision)
        if place not in self._weights:
            try:
                weights = find_weights(
                    self._suite.locate_model(reference),
                    revision=revision,
                    download=self._hub == "fetch",
                )
            except NotDownloadedError:
                if self._hub != "later":
                    raise
                weights = None
                self.warnings.append(
                    f"model '{reference}' is not downloaded yet; a run fetches it."
                )
            self._weights[place] = weights
        return self._weights[place]


def length_problems(weights: Weights | None, spec: Dense | RerankSpec) -> Iterator[str]:
    """Yield a sentence where more tokens are asked for than the model has positions for."""
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
