"""Finetune: the parent's weights, trained further."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

from harness.errors import no_such
from harness.suite.kinds.kind import Derived, KeyProblem, RestOfSuite, mined_by
from harness.suite.training import FinetuneSpec, key_problems


class Finetune(Derived):
    """``finetune = {…}``: the parent's weights, trained further."""

    word: ClassVar[str] = "finetune"
    action: ClassVar[str] = "fine-tune"
    has_vectors: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True
    changes_weights: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    can_search: ClassVar[bool] = True

    finetune: FinetuneSpec

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        how = self.finetune
        widths = f", Matryoshka {how.matryoshka}" if how.matryoshka else ""
        seeds = f", mean of {how.seeds} seeds" if how.seeds > 1 else ""
        mined = f", {how.hard_negatives.per_query} hard negatives" if how.hard_negatives else ""
        data = ", ".join(how.data)
        steps = f", at most {how.max_steps} steps" if how.max_steps else ""
        return f"{how.loss} on {data}{mined}, {how.epochs} epochs{steps}{widths}{seeds}"

    @property
    def helpers(self) -> tuple[str, ...]:
        """The guide of the loss, where it has one."""
        return (self.finetune.guide,) if self.finetune.guide else ()

    @property
    def recipe(self) -> FinetuneSpec:
        """How it is trained."""
        return self.finetune

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the same training of another parent, with negatives of another search."""
        copy = super().renamed(names)
        return copy.model_copy(update={"finetune": mined_by(self.finetune, names)})

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        if not suite.has_weights(self.parent):
            yield ("from",), f"'{self.parent}' {suite.typed[self.parent].weightless}"
        yield from ((("finetune",), message) for message in self._problems(suite))

    def _problems(self, suite: RestOfSuite) -> Iterator[str]:
        yield from key_problems(self.finetune)
        guide = self.finetune.guide
        if guide is not None and guide not in suite.names:
            yield f"guide: {no_such('candidate', guide, suite.names)}"
        elif guide is not None and not suite.has_weights(guide):
            yield f"guide: '{guide}' has no weights. Name a 'model' or 'finetune' candidate."
        yield from suite.recipe_problems(self.finetune, self.parent)
