"""Vectors: embeddings made elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from harness.suite.kinds.kind import KeyProblem, RestOfSuite, Root
from harness.suite.table import Similarity, Spec, Widths


class VectorPaths(Spec):
    """Two ``.npy`` files [n, dim]; ``x.ids.txt`` beside ``x.npy`` holds one id a line."""

    documents: str
    queries: str


class VectorFiles(Root):
    """``vectors = {…}``: embeddings made elsewhere; ``{collection}`` stands for the name."""

    word: ClassVar[str] = "vectors"
    has_vectors: ClassVar[bool] = True
    finds_by: ClassVar[Literal["words", "vectors"] | None] = "vectors"

    vectors: VectorPaths
    similarity: Similarity = "cosine"
    matryoshka: Widths = []

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"vectors from {self.vectors.documents}"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from suite.file_problems("vectors", self.vectors.documents, self.vectors.queries)
