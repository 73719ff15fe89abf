"""Interpolate: weights between a trained model and its parent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from harness.suite.kinds.finetune import Finetune
from harness.suite.kinds.kind import Derived, KeyProblem, RestOfSuite


class Interpolate(Derived):
    """``interpolate = a``: a times the weights of a trained parent, and 1 - a times those before.

    Attributes:
        interpolate: share of the trained weights.
    """

    word: ClassVar[str] = "interpolate"
    has_vectors: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True
    changes_weights: ClassVar[bool] = True
    can_search: ClassVar[bool] = True

    interpolate: float = Field(gt=0, lt=1)

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"{self.interpolate:g} of the trained weights, {1 - self.interpolate:g} of before"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        parent = suite.typed.get(self.parent)
        if parent is not None and not isinstance(parent, Finetune):
            yield (
                ("from",),
                (
                    f"'{self.parent}' is not trained here, so there is nothing to interpolate "
                    "between. Name a 'finetune' candidate."
                ),
            )
