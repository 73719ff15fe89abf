"""Fuse: one ranking out of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field

from harness.suite.kinds.kind import CandidateSpec, KeyProblem, RestOfSuite
from harness.suite.training import name_problems

# Beyond these the sums of a fusion lose what float32 can hold.
_SMALLEST_WEIGHT, _LARGEST_WEIGHT = 1e-3, 1e3


class Fuse(CandidateSpec):
    """``fuse = [a, b]``: one ranking out of several.

    Attributes:
        fuse: names of at least two candidates.
        method: reciprocal rank fusion, or the weighted sum of min-max normalised scores.
        weights: of the weighted sum, one per candidate; None weighs all equally.
        dev: a split, such as "claims:dev", on which the weights are tuned instead.
        k: of reciprocal rank fusion; 60 as in Cormack et al. 2009.
    """

    word: ClassVar[str] = "fuse"
    action: ClassVar[str] = "fuse"

    fuse: list[str] = Field(min_length=2)
    method: Literal["rrf", "wsum"] = "rrf"
    weights: list[float] | None = None
    dev: str | None = None
    k: int = Field(default=60, ge=1, le=1_000_000)

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the candidates that this one is derived from."""
        return tuple(self.fuse)

    @property
    def tuned_on(self) -> str | None:
        """The split that its weights are found on, or None."""
        return self.dev

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        how = "reciprocal rank fusion" if self.method == "rrf" else "weighted sum"
        tuned = f", weights tuned on {self.dev}" if self.dev is not None else ""
        return f"{how} of {', '.join(self.fuse)}{tuned}"

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the same fusion of other candidates."""
        return self.model_copy(update={"fuse": [names.get(name, name) for name in self.fuse]})

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        for name in self.fuse:
            yield from suite.name_problems("fuse", name)
        if len(set(self.fuse)) < len(self.fuse):
            yield ("fuse",), "a candidate is named twice. Name each once."
        if "k" in self.model_fields_set and self.method != "rrf":
            yield ("k",), 'k belongs to method = "rrf". Remove it or change the method.'
        if self.weights is not None:
            yield from ((("weights",), message) for message in self._weight_problems(self.weights))
        if self.dev is not None:
            yield from ((("dev",), message) for message in self._dev_problems(self.dev, suite))

    def _weight_problems(self, weights: list[float]) -> Iterator[str]:
        if self.method != "wsum":
            yield 'weights belong to method = "wsum". Remove them or change the method.'
        elif len(weights) != len(self.fuse):
            yield f"{len(self.fuse)} candidates need as many weights, got {weights}."
        elif min(weights) < 0:
            yield (
                f"a negative weight would reverse a candidate's ranking, got {weights}. Use 0 or "
                "more."
            )
        elif not _SMALLEST_WEIGHT <= max(weights) <= _LARGEST_WEIGHT:
            yield f"the largest weight must be from 0.001 to 1000, got {weights}. Scale them."

    def _dev_problems(self, dev: str, suite: RestOfSuite) -> Iterator[str]:
        if self.method != "wsum" or self.weights is not None:
            yield 'tunes the weights of method = "wsum", so none may be given beside it.'
        problems = list(name_problems("dev", [dev], collections=suite.collections, training={}))
        yield from (problem.removeprefix("dev: ") for problem in problems)
        below = list(self.fuse)
        for name in below:
            spec = suite.typed.get(name)
            below += [] if spec is None else [each for each in spec.needs if each not in below]
            if spec is not None and spec.recipe is not None and dev in spec.recipe.data:
                yield (
                    f"'{name}' is trained on '{dev}', where its scores are biased upwards. "
                    "Tune the weights on another split."
                )
