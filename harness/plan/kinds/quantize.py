"""Quantize: the parent's vectors in fewer bits a dimension."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.arrays import Rows
from harness.collection import Collection
from harness.plan.candidates import DenseBuilder
from harness.plan.dense import DenseModel, forbidden_rows, shortlist_problems
from harness.retrieval.latency import RescoreQuery, Step
from harness.retrieval.quantized import Quantizer, Rescore, SearchCodes
from harness.retrieval.reranking import SpaceScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import Space, VectorSource
from harness.suite.kinds.quantize import Precision, Quantize


@dataclass(frozen=True)
class QuantizedModel(DenseModel):
    """A model whose documents are searched by codes, or through an index.

    Attributes:
        precision: of the codes; None for the vectors.
        rescore: so many times the depth are ordered again by full vectors; None orders by codes.
    """

    precision: Precision | None
    rescore: int | None

    def space(self, documents: VectorSource, queries: VectorSource) -> Space:
        """Return the space of the codes."""
        space = super().space(documents, queries)
        return (
            space if self.precision is None else replace(space, coarser=Quantizer(self.precision))
        )

    def first(
        self,
        name: str,
        space: Space,
        collection: Collection,
        *,
        depth: int,
        forbidden: Rows | None = None,
    ) -> RunStage:
        """Return the search that nothing orders again yet."""
        return super().search(name, space, collection, depth=depth, forbidden=forbidden)

    def first_step(
        self, name: str, space: Space, collection: Collection, *, device: str, depth: int
    ) -> Step:
        """Return this search for one query.

        Raises:
            TypeError: there are no codes.
        """
        if self.precision is None:
            raise TypeError(f"{name} has no codes")
        return SearchCodes(name, collection, device, space, depth, self.precision)

    def search(
        self,
        name: str,
        space: Space,
        collection: Collection,
        *,
        depth: int,
        forbidden: Rows | None = None,
    ) -> RunStage:
        """Return the search, rescored where the suite says so."""
        if self.rescore is None:
            return self.first(name, space, collection, depth=depth, forbidden=forbidden)
        deep = self.rescore * depth
        first = self.first(f"{name}, by codes", space, collection, depth=deep, forbidden=forbidden)
        return Rescore(name, first, SpaceScorer(replace(space, coarser=None)), deep, depth)

    def search_steps(
        self, name: str, space: Space, collection: Collection, *, device: str, depth: int
    ) -> tuple[Step, ...]:
        """Return the search, and the rescoring."""
        deep = depth * (self.rescore or 1)
        first = self.first_step(name, space, collection, device=device, depth=deep)
        if self.rescore is None:
            return (first,)
        forbidden = forbidden_rows(collection)
        stage = self.search(name, space, collection, depth=depth, forbidden=forbidden)
        if not isinstance(stage, Rescore):
            raise TypeError(f"{name} is not rescored")
        again = RescoreQuery(name, collection, device, stage.first, stage.scorer, stage.depth)
        return (first, again)


class QuantizeBuilder(DenseBuilder[Quantize]):
    """The parent's vectors in fewer bits a dimension."""

    def dense(self) -> QuantizedModel:
        """Return the parent's model with codes for its documents."""
        parent = self.planner.dense(self.spec.parent)
        return QuantizedModel(
            **vars(parent), precision=self.spec.quantize, rescore=self.spec.rescore
        )

    def problems(self) -> Iterator[str]:
        """Yield where no whole corpus is searched; warn of signs that lose what a dot compares."""
        if self.spec.rescore is not None:
            yield from shortlist_problems(self.planner.collections)
        dense = self.planner.dense(self.name)
        if self.spec.quantize == "binary" and dense.similarity == "dot":
            self.planner.warnings.append(
                f"'{self.name}': '{dense.owner}' is compared by dot product, but signs "
                "lose the length of its vectors."
            )
