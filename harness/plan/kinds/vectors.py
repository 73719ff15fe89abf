"""Vectors: embeddings made elsewhere, read from files."""

from __future__ import annotations

from collections.abc import Iterator

from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.plan.candidates import DenseBuilder
from harness.plan.dense import DenseModel, collection_file
from harness.retrieval.space import GivenVectors, open_vectors, pair_problems
from harness.suite.kinds.vectors import VectorFiles


class VectorsBuilder(DenseBuilder[VectorFiles]):
    """Embeddings made elsewhere."""

    def dense(self) -> DenseModel:
        """Return vectors without weights."""
        return DenseModel(
            owner=self.name,
            model=None,
            prompts=("", ""),
            max_length=None,
            similarity=self.spec.similarity,
            dimension=self._dimension(),
            width=None,
            trained_widths=tuple(self.spec.matryoshka),
            arithmetics=("float32",),
            texts=0,
        )

    def sides(self, collection: Collection) -> tuple[GivenVectors, GivenVectors]:
        """Return the files of documents and queries."""
        files, suite = self.spec.vectors, self.planner.suite
        return (
            GivenVectors(
                collection_file(suite, files.documents, collection),
                collection.document_ids,
                collection.documents,
            ),
            GivenVectors(
                collection_file(suite, files.queries, collection),
                collection.query_ids,
                collection.queries,
            ),
        )

    def problems(self) -> Iterator[str]:
        """Check the files for every collection.

        Raises:
            HarnessError: exit code 3, all that is wrong with any of them.
        """
        yield from ()
        problems: list[str] = []
        similarity, warnings = self.spec.similarity, self.planner.warnings
        for collection in self.planner.collections.values():
            sides = self.sides(collection)
            found = [each for side in sides for each in side.problems(similarity=similarity)]
            found = found or pair_problems(*sides, similarity=similarity)
            if not found:
                doubts = [f"'{self.name}': {each}" for side in sides for each in side.warnings()]
                warnings += [doubt for doubt in doubts if doubt not in warnings]
            problems += [each for each in found if each not in problems]
        if problems:
            raise HarnessError(problems, exit_code=ExitCode.DATA)

    def _dimension(self) -> int | None:
        collection = next(iter(self.planner.collections.values()))
        try:
            return int(open_vectors(self.sides(collection)[0].path).shape[1])
        except HarnessError:
            return None  # told as a problem of the file
