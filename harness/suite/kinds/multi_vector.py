"""Multi-vector: a late-interaction model (ColBERT), with a vector a token."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from harness.suite.kinds.dense import Prompts
from harness.suite.kinds.kind import Root


class MultiVector(Root):
    """``multi_vector = …``: a model that sentence-transformers loads as `MultiVectorEncoder`.

    Attributes:
        multi_vector: hub id, local folder, or ``package:<name>[/<folder>]``.
        revision: of a hub id; a commit pins it.
        prompts: None takes what the model declares.
        token_pooling: keeps about one in this many of a document's token vectors, as cluster means;
            None keeps all.
        trust_remote_code: run the model's own code, with your permissions.
    """

    word: ClassVar[str] = "multi_vector"
    scores_again: ClassVar[bool] = True
    weightless: ClassVar[str] = "cannot be trained here. Name a 'model' or 'finetune' candidate."
    finds_by: ClassVar[Literal["words", "vectors"] | None] = "vectors"

    multi_vector: str
    revision: str | None = None
    prompts: Prompts = Prompts()
    token_pooling: float | None = Field(default=None, gt=1)
    trust_remote_code: bool = False

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        pooled = f", tokens pooled by {self.token_pooling:g}" if self.token_pooling else ""
        return f"{self.multi_vector}, one vector per token{pooled}"

    @property
    def reference(self) -> str:
        """The model."""
        return self.multi_vector
