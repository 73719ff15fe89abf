"""Kind: what every kind of candidate says about itself in the suite, without any stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from harness.errors import no_such
from harness.suite.table import Spec
from harness.suite.training import (
    FinetuneSpec,
    RerankerFinetuneSpec,
    name_problems,
    negatives_problems,
)

# Keys below the candidate's own table, and what is wrong there.
KeyProblem = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class RestOfSuite:
    """The rest of a suite file, against which a candidate's own table is checked.

    Attributes:
        names: of all candidates.
        typed: those candidates whose own table is right.
        collections: source and scored split of each, as the file gives them.
        training: the tables of training data.
    """

    names: frozenset[str]
    typed: Mapping[str, CandidateSpec]
    collections: Mapping[str, tuple[Any, Any]]
    training: Mapping[str, Any]

    def has_weights(self, name: str) -> bool:
        """Tell whether a candidate has weights, or is broken, which is told at its own place."""
        return name not in self.typed or self.typed[name].has_weights

    def recipe_problems(
        self, recipe: FinetuneSpec | RerankerFinetuneSpec, parent: str
    ) -> Iterator[str]:
        """Yield what is wrong between a recipe and the rest of the file."""
        recipes = [each.recipe for each in self.typed.values()]
        others = {other.seeds for other in recipes if other is not None} - {1, recipe.seeds}
        if recipe.seeds > 1 and others:
            yield (
                f"seeds: {recipe.seeds} here and {max(others)} elsewhere, but trained candidates "
                "are compared seed by seed. Give all of them the same number."
            )
        held_out = recipe.dev if isinstance(recipe, FinetuneSpec) else None
        for key, data in (("data", recipe.data), ("dev", [held_out] if held_out else [])):
            yield from name_problems(
                key, data, collections=self.collections, training=self.training
            )
        searchable = {name: each.can_search for name, each in self.typed.items()}
        yield from negatives_problems(recipe.hard_negatives, default=parent, searchable=searchable)

    def file_problems(self, key: str, *paths: str) -> Iterator[KeyProblem]:
        """Yield a problem if several collections would read one file."""
        if len(self.collections) > 1 and any("{collection}" not in path for path in paths):
            yield (
                (key,),
                (
                    "the suite has several collections, so each needs a file of its own. "
                    "Write {collection} where the collection's name stands in the path."
                ),
            )

    def name_problems(self, key: str, name: str) -> Iterator[KeyProblem]:
        """Yield a problem if no candidate has a name."""
        if name not in self.names:
            yield (key,), no_such("candidate", name, self.names)


class CandidateSpec(Spec):
    """A candidate's table. Its kind follows from the one key that no other kind has.

    What a kind does, its vectors, runs and stages, is said by its builder in
    `harness/plan/kinds/`.

    Attributes:
        word: the kind in results and reports.
        action: what a decision calls taking such a change; "switch" where other reasons name it.
        has_vectors: retrieves with vectors, so that they can be shortened.
        scores_again: has no vectors of whole texts, but can score what another candidate finds.
        has_weights: brings weights of a bi-encoder that can be trained further.
        weightless: why it cannot be trained where it brings none, and what can.
        changes_weights: trains, or mixes, its parent's weights.
        can_search: finds documents for any query by itself.
        finds_by: what an independent system compares; None of one that is derived, or unknown.
        trains: a model of its own, as `finetune` says.
        shortens: keeps the first dimensions of the parent's vectors, a width of the same model.
        compresses: the parent's vectors, shorter, coarser or in an index, and nothing else.
    """

    word: ClassVar[str]
    action: ClassVar[str] = "switch"
    has_vectors: ClassVar[bool] = False
    scores_again: ClassVar[bool] = False
    has_weights: ClassVar[bool] = False
    weightless: ClassVar[str] = "has no weights to train. Name a 'model' or 'finetune' candidate."
    changes_weights: ClassVar[bool] = False
    can_search: ClassVar[bool] = False
    finds_by: ClassVar[Literal["words", "vectors"] | None] = None
    trains: ClassVar[bool] = False
    shortens: ClassVar[bool] = False
    compresses: ClassVar[bool] = False

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        raise NotImplementedError

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the candidates that this one is derived from."""
        return ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the candidates that must be worked out before this one."""
        mined = self.recipe.hard_negatives if self.recipe is not None else None
        miner = [mined.candidate] if mined is not None and mined.candidate else []
        return tuple(dict.fromkeys([*self.parents, *self.helpers, *miner]))

    @property
    def helpers(self) -> tuple[str, ...]:
        """Names of the candidates that are used beside the parents: a guide, a cascade."""
        return ()

    @property
    def tuned_on(self) -> str | None:
        """The split, such as "claims:dev", that it is tuned on by its parents' runs, or None."""
        return None

    @property
    def recipe(self) -> FinetuneSpec | RerankerFinetuneSpec | None:
        """How a model of the candidate is trained, or None."""
        return None

    @property
    def reference(self) -> str | None:
        """The bi-encoder that is run as it was published, as the suite names it, or None."""
        return None

    @property
    def scores_pairs(self) -> bool:
        """Whether a cross-encoder reads what it retrieves."""
        return False

    @property
    def depth(self) -> int:
        """Ranks that its parents' runs must have."""
        return 0

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the same change to other candidates, by the names of these."""
        raise NotImplementedError

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:  # noqa: ARG002
        """Yield what is wrong between this table and the rest of the file."""
        yield from ()


class Root(CandidateSpec):
    """A candidate that is derived from no other."""

    def renamed(self, names: Mapping[str, str]) -> Self:  # noqa: ARG002  it has no parents
        """Return itself."""
        return self


class Derived(CandidateSpec):
    """A candidate that changes one thing of its parent."""

    parent: str = Field(alias="from")

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the candidates that this one is derived from."""
        return (self.parent,)

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return the same change to another parent."""
        return self.model_copy(update={"parent": names.get(self.parent, self.parent)})

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from suite.name_problems("from", self.parent)


class Compression(Derived):
    """The parent's vectors, shorter, coarser, in an index, or asked by less: tested by
    non-inferiority.
    """

    action: ClassVar[str] = "compress"
    has_vectors: ClassVar[bool] = True
    can_search: ClassVar[bool] = True
    compresses: ClassVar[bool] = True
    is_last: ClassVar[bool] = False  # of a chain: nothing can be compressed after it

    @property
    def size(self) -> float:
        """What is left in its own unit, such as dimensions; less is smaller."""
        raise NotImplementedError

    @property
    def series(self) -> str:
        """What is tested apart from other compressions; "" for the widths of the same vectors."""
        return ""

    @property
    def left(self) -> str:
        """What is left, such as "128 dimensions", for a verdict."""
        raise NotImplementedError

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        parent = suite.typed.get(self.parent)
        if parent is not None and not parent.has_vectors:
            vectors = "vectors of whole texts" if parent.scores_again else "vectors"
            yield (
                ("from",),
                f"'{self.parent}' has no {vectors} to {self.word}. Name a dense candidate.",
            )
        for spec in compressions(suite.typed, self.parent):
            if spec.is_last:
                text = f"'{self.parent}' is searched through an index, which must come last."
                yield ("from",), f"{text} Start from '{spec.parent}', and index the result."


def compressions(candidates: Mapping[str, CandidateSpec], name: str) -> list[Compression]:
    """Return the compressions that a candidate ends with, from its uncompressed vectors on."""
    found: list[Compression] = []
    spec = candidates.get(name)
    while isinstance(spec, Compression) and spec not in found:  # a circle is told elsewhere
        found.insert(0, spec)
        spec = candidates.get(spec.parent)
    return found


def uncompressed(candidates: Mapping[str, CandidateSpec], name: str) -> str:
    """Return the candidate whose vectors a chain of compressions starts from, itself if none."""
    chain = compressions(candidates, name)
    return chain[0].parent if chain else name


def mined_by(
    recipe: FinetuneSpec | RerankerFinetuneSpec, names: Mapping[str, str]
) -> FinetuneSpec | RerankerFinetuneSpec:
    """Return a recipe whose hard negatives are found by another candidate."""
    mined = recipe.hard_negatives
    if mined is None or mined.candidate is None or mined.candidate not in names:
        return recipe
    by = mined.model_copy(update={"candidate": names[mined.candidate]})
    return recipe.model_copy(update={"hard_negatives": by})
