"""Run: what any other system returned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from harness.suite.kinds.kind import KeyProblem, RestOfSuite, Root


class RunFile(Root):
    """``run = "file"``: what any other system returned; ``{collection}`` stands for the name.

    Attributes:
        run: the file.
        scores: "similarity", larger is better; "distance", smaller is better; "ranks", the rank
            column decides. None takes similarities, and refuses ranks that contradict them.
    """

    word: ClassVar[str] = "run"

    run: str
    scores: Literal["similarity", "distance", "ranks"] | None = None

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"run from {self.run}"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from suite.file_problems("run", self.run)
