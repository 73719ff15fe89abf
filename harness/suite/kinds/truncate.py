"""Truncate: the first dimensions of the parent's vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from harness.suite.kinds.kind import Compression, KeyProblem, RestOfSuite, compressions


class Truncate(Compression):
    """``truncate = d``: the first d dimensions of the parent's vectors, then normalised."""

    word: ClassVar[str] = "truncate"
    action: ClassVar[str] = "truncate"
    shortens: ClassVar[bool] = True

    truncate: int = Field(ge=1)

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"first {self.truncate} dimensions"

    @property
    def size(self) -> float:
        """Dimensions."""
        return self.truncate

    @property
    def left(self) -> str:
        """What is left."""
        return f"{self.truncate} dimensions"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        chain = compressions(suite.typed, self.parent)
        widths = [spec.truncate for spec in chain if isinstance(spec, Truncate)]
        if widths and self.truncate > min(widths):
            yield (
                ("truncate",),
                (
                    f"{self.truncate} dimensions of '{self.parent}', which has {min(widths)}. "
                    f"Give at most {min(widths)}."
                ),
            )
