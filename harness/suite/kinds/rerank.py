"""Rerank: the parent's top documents in the order of another model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

from pydantic import Field

from harness.errors import no_such
from harness.suite.kinds.kind import Derived, KeyProblem, RestOfSuite, mined_by
from harness.suite.table import Dtype, EngineChoice, Spec
from harness.suite.training import RerankerFinetuneSpec


class SecondStageSpec(Spec):
    """What scores the first stage's top documents again.

    Attributes:
        depth: how many of the first stage's documents are scored again.
    """

    depth: int = Field(default=100, ge=1, le=2048)

    def rerank_problems(self) -> Iterator[KeyProblem]:
        """Yield what is wrong with it."""
        yield from ()


class SecondStage(Derived):
    """``rerank = {…}``, whatever scores: the parent's top documents, ordered by new scores."""

    action: ClassVar[str] = "rerank"

    rerank: SecondStageSpec

    @property
    def scores_pairs(self) -> bool:
        """Whether a cross-encoder scores again, here or elsewhere."""
        return True

    @property
    def depth(self) -> int:
        """Documents that are scored again."""
        return self.rerank.depth

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        yield from ((("rerank", *keys), text) for keys, text in self.rerank.rerank_problems())


class RerankSpec(SecondStageSpec):
    """What scores the first stage's top documents again: a cross-encoder, or a candidate.

    Attributes:
        model: hub id, local folder or ``package:<name>`` of a cross-encoder.
        candidate: name of a candidate whose stored vectors are used instead (a cascade); those of
            whole texts or of tokens, or weights of terms.
        revision: of the cross-encoder on a hub; a commit pins it.
        max_length: tokens of a query and a document together; None takes the cross-encoder's own.
        dtype, engine: of its weights, as of a dense candidate's.
        finetune: how the cross-encoder is trained first; it may then be any transformer.
        trust_remote_code: run the cross-encoder's own code, with your permissions.
    """

    model: str | None = None
    candidate: str | None = None
    revision: str | None = None
    dtype: Dtype = "auto"
    engine: EngineChoice = "auto"
    max_length: int | None = Field(default=None, ge=8)
    finetune: RerankerFinetuneSpec | None = None
    trust_remote_code: bool = False


class Reranking(SecondStage):
    """``rerank = {…}``: the parent's top documents, ordered by another model's scores."""

    word: ClassVar[str] = "rerank"

    rerank: RerankSpec

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        how = self.rerank
        trained = f", trained on {', '.join(how.finetune.data)}" if how.finetune else ""
        return f"top {how.depth} reranked by {how.model or how.candidate}{trained}"

    @property
    def helpers(self) -> tuple[str, ...]:
        """The candidate whose vectors score again, of a cascade."""
        return (self.rerank.candidate,) if self.rerank.candidate else ()

    @property
    def recipe(self) -> RerankerFinetuneSpec | None:
        """How the cross-encoder is trained, or None."""
        return self.rerank.finetune

    @property
    def scores_pairs(self) -> bool:
        """Whether a cross-encoder scores again, not a cascade."""
        return self.rerank.model is not None

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the same reranking of other candidates, by others."""
        how = self.rerank
        changed = {
            "candidate": names.get(how.candidate or "", how.candidate),
            "finetune": how.finetune and mined_by(how.finetune, names),
        }
        copy = super().renamed(names)
        return copy.model_copy(update={"rerank": how.model_copy(update=changed)})

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        yield from ((("rerank",), message) for message in self._problems(suite))

    def _problems(self, suite: RestOfSuite) -> Iterator[str]:
        rerank = self.rerank
        if (rerank.model is None) == (rerank.candidate is None):
            yield (
                "give one of 'model' (a cross-encoder) and 'candidate' (a candidate with vectors), "
                f"got {'both' if rerank.model else 'neither'}."
            )
        if rerank.finetune is not None and rerank.trust_remote_code:
            yield (
                "a trained cross-encoder is saved without code of its own. Remove "
                "trust_remote_code, or train it elsewhere and give its folder."
            )
        if rerank.finetune is not None:
            yield from suite.recipe_problems(rerank.finetune, self.parent)
        if rerank.candidate is None:
            return
        if rerank.candidate not in suite.names:
            yield no_such("candidate", rerank.candidate, suite.names)
        second = suite.typed.get(rerank.candidate)
        if second is not None and not (second.has_vectors or second.scores_again):
            yield f"'{rerank.candidate}' has no vectors. Name a dense candidate."
        for key in ("revision", "max_length", "finetune", "trust_remote_code"):
            if getattr(rerank, key) not in (None, False):
                yield f"'{key}' belongs to a cross-encoder ('model'). Remove it."
