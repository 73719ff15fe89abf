"""Quantize: the parent's vectors in fewer bits a dimension."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from harness.suite.kinds.kind import Compression, KeyProblem, RestOfSuite, compressions

Precision = Literal["fp16", "int8", "binary"]

BITS: dict[Precision, int] = {"fp16": 16, "int8": 8, "binary": 1}


class Quantize(Compression):
    """``quantize = "int8"``: the parent's document vectors in fewer bits a dimension.

    Queries keep their float32. Of several compressions in a chain, truncations come first: the
    codes are those of the truncated vectors, in whichever order the suite names them.

    Attributes:
        quantize: "fp16"; "int8", 256 equal steps between the least and the largest value of each
            dimension in the corpus; "binary", the sign of each value.
        rescore: finds this multiple of the run's depth by codes and reorders it by the parent's
            vectors, which are kept beside the codes; None ranks by codes alone.
    """

    word: ClassVar[str] = "quantize"

    quantize: Precision
    rescore: int | None = Field(default=None, ge=1, le=100)

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        again = f", top {self.rescore} times the depth rescored" if self.rescore else ""
        return f"{self.quantize} vectors{again}"

    @property
    def size(self) -> float:
        """Bits a dimension."""
        return BITS[self.quantize]

    @property
    def series(self) -> str:
        """Each precision is tested by itself."""
        return self.quantize

    @property
    def left(self) -> str:
        """What is left."""
        return f"{self.quantize}{', rescored' if self.rescore else ''}"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        chain = compressions(suite.typed, self.parent)
        if any(isinstance(spec, Quantize) for spec in chain):
            full = chain[0].parent
            yield ("from",), f"'{self.parent}' is quantised already. Quantise '{full}' instead."
        if self.rescore is not None and self.quantize == "fp16":
            yield (
                ("rescore",),
                'full vectors order documents as fp16 does. Remove it, or take "int8" or "binary".',
            )
