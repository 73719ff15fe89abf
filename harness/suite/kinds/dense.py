"""Dense: a bi-encoder as it was published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from harness.models.prompts import PLACE
from harness.suite.kinds.kind import KeyProblem, RestOfSuite, Root
from harness.suite.table import Dtype, EngineChoice, Similarity, Spec, Widths


class Prompts(Spec):
    """Text put before every query and every document; None takes what the model declares.

    ``{instruction}`` in that of queries stands for the instruction of their collection.
    """

    query: str | None = None
    document: str | None = None

    def problems(self) -> Iterator[KeyProblem]:
        """Yield what cannot be put before a text."""
        if self.document is not None and PLACE in self.document:
            message = f"document: {PLACE} is for queries; documents are encoded once for all."
            yield ("prompts",), f"{message} Remove it."


class Dense(Root):
    """``model = …``: a bi-encoder that sentence-transformers loads; static embeddings too.

    Attributes:
        model: hub id, local folder, or ``package:<name>[/<folder>]``.
        revision: of a hub id; a commit pins it.
        prompts: None takes what the model declares.
        similarity: None takes what the model declares, else cosine.
        max_length: tokens; None takes the model's own.
        dtype: of the weights while encoding; "auto" is float32, or half precision where the device
            has it and it is as exact on the collection's own texts.
        engine: what computes on a CPU; "auto" is the fastest of those that are installed that is as
            exact on the collection's own texts, and torch where there are few of them.
        matryoshka: widths that the model was trained for.
        pooling: of a transformer whose files declare none.
        trust_remote_code: run the model's own code, with your permissions.
    """

    word: ClassVar[str] = "dense"
    has_vectors: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True
    can_search: ClassVar[bool] = True
    finds_by: ClassVar[Literal["words", "vectors"] | None] = "vectors"

    model: str
    revision: str | None = None
    prompts: Prompts = Prompts()
    similarity: Similarity | None = None
    max_length: int | None = Field(default=None, ge=8)
    dtype: Dtype = "auto"
    engine: EngineChoice = "auto"
    matryoshka: Widths = []
    pooling: Literal["mean", "cls", "last"] | None = None
    trust_remote_code: bool = False

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return self.model

    @property
    def reference(self) -> str:
        """The model."""
        return self.model

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        yield from self.prompts.problems()
