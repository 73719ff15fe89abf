"""Sparse: a model that gives weights of terms (SPLADE, inference-free)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from harness.suite.kinds.dense import Prompts
from harness.suite.kinds.kind import Root


class Sparse(Root):
    """``sparse = …``: a sparse encoder that sentence-transformers loads (`SparseEncoder`).

    Attributes:
        sparse: hub id, local folder, or ``package:<name>[/<folder>]``.
        revision: of a hub id; a commit pins it.
        prompts: None takes what the model declares.
        max_length: tokens; None takes the model's own.
        max_active_dims: terms kept per text, the heaviest first; None takes what the model
            declares, else all.
        trust_remote_code: run the model's own code, with your permissions.
    """

    word: ClassVar[str] = "sparse"
    scores_again: ClassVar[bool] = True
    weightless: ClassVar[str] = "cannot be trained here. Name a 'model' or 'finetune' candidate."

    sparse: str
    revision: str | None = None
    prompts: Prompts = Prompts()
    max_length: int | None = Field(default=None, ge=8)
    max_active_dims: int | None = Field(default=None, ge=1)
    trust_remote_code: bool = False

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        most = f", at most {self.max_active_dims} terms" if self.max_active_dims else ""
        return f"{self.sparse}, sparse{most}"

    @property
    def reference(self) -> str:
        """The model."""
        return self.sparse
