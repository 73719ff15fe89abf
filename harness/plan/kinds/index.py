"""Index: the parent's vectors, searched approximately."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.arrays import Rows
from harness.collection import Collection
from harness.plan.candidates import DenseBuilder
from harness.plan.dense import ids_key, shortlist_problems
from harness.plan.kinds.quantize import QuantizedModel
from harness.retrieval.index import (
    BuildIndex,
    IndexQuery,
    SearchIndex,
    index_doubts,
    index_problems,
)
from harness.retrieval.latency import Step
from harness.retrieval.run_stage import RunStage
from harness.retrieval.space import Space
from harness.suite.kinds.index import Index, IndexSpec

_USUAL_WIDTH = 384  # where the dimensions are known only after a download


@dataclass(frozen=True)
class IndexedModel(QuantizedModel):
    """A model whose documents are searched through an approximate index.

    Attributes:
        index: its type and parameters.
        seed: of its build.
    """

    index: IndexSpec
    seed: int

    def first(
        self,
        name: str,
        space: Space,
        collection: Collection,
        *,
        depth: int,
        forbidden: Rows | None = None,
    ) -> RunStage:
        """Return the search through the index."""
        built = self._built(name, space, collection)
        return SearchIndex(
            name, space, ids_key(collection), depth, forbidden, built=built, spec=self.index
        )

    def first_step(
        self, name: str, space: Space, collection: Collection, *, device: str, depth: int
    ) -> Step:
        """Return the search through the index for one query."""
        built = self._built(name, space, collection)
        return IndexQuery(name, collection, device, space, depth, built=built, spec=self.index)

    def _built(self, name: str, space: Space, collection: Collection) -> BuildIndex:
        documents = replace(space, queries=space.documents)
        shape = (len(collection.documents), self.width or self.dimension or _USUAL_WIDTH)
        return BuildIndex(name, documents, self.index, self.seed, shape)


class IndexBuilder(DenseBuilder[Index]):
    """The parent's vectors, searched approximately."""

    def dense(self) -> IndexedModel:
        """Return the parent's model, searched through an index."""
        spec = self.spec
        parent = {"precision": None, "rescore": None, **vars(self.planner.dense(spec.parent))}
        if spec.rescore is not None:
            parent["rescore"] = spec.rescore
        return IndexedModel(**parent, index=spec.index, seed=self.planner.suite.seed)

    def problems(self) -> Iterator[str]:
        """Yield what FAISS lacks, and parameters that the vectors of a collection do not allow."""
        yield from shortlist_problems(self.planner.collections)
        index = self.spec.index
        if importlib.util.find_spec("faiss") is None:
            yield (
                "an index needs FAISS, which is not installed. Run pip install "
                "'embedding-harness[cpu]'."
            )
        elif index.type == "rabitq" and not _has_rabitq():
            yield "the installed FAISS has no RaBitQ index. Update it, or take another type."
        dense = self.dense()
        for name, collection in self.planner.collections.items():
            depth = self.planner.depth_of(collection) * (dense.rescore or 1)
            n, width = len(collection.documents), dense.width or dense.dimension
            for text in index_problems(index, width=width, n_documents=n):
                yield f"index on '{name}': {text}"
            for text in index_doubts(index, name, n_documents=n, depth=depth):
                self.planner.warnings.append(f"'{self.name}': {text}")


def _has_rabitq() -> bool:
    import faiss

    return hasattr(faiss, "IndexIVFRaBitQ")
