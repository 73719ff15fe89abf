"""Own: models whose code is not the harness's: of the package mteb, and of a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from harness.suite.kinds.kind import KeyProblem, RestOfSuite, Root
from harness.suite.kinds.rerank import SecondStage, SecondStageSpec
from harness.suite.table import Similarity, Spec, Widths

_OF_MTEB: Mapping[str, str] = {
    key: f"'{key}' is for models that the harness loads itself; mteb decides it here. Remove it."
    for key in ("prompts", "max_length", "dtype", "engine", "pooling", "trust_remote_code")
}
_OF_CODE: Mapping[str, str] = {
    key: f"'{key}' is for models that the harness loads; give it to your own code with arguments."
    for key in ("revision", "prompts", "max_length", "dtype", "engine", "pooling", "finetune")
}


class Mteb(Root):
    """``model = "mteb:<name>"``: a model that the installed mteb loads, with its own prompts.

    Attributes:
        model: ``mteb:<name>``.
        revision: None takes the one that mteb names; another one is refused by mteb.
        similarity: None takes what mteb knows.
        matryoshka: widths that the model was trained for.
    """

    word: ClassVar[str] = "mteb"
    weightless: ClassVar[str] = (
        "is loaded by mteb, so its weights cannot be trained here. Name the model itself: "
        "model = its hub id or folder."
    )
    has_vectors: ClassVar[bool] = True
    can_search: ClassVar[bool] = True
    finds_by: ClassVar[Literal["words", "vectors"] | None] = "vectors"
    refused: ClassVar[Mapping[str, str]] = _OF_MTEB

    model: str
    revision: str | None = None
    similarity: Similarity | None = None
    matryoshka: Widths = []

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return self.model

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        yield from _unnamed(self.model)


def _unnamed(model: str) -> Iterator[KeyProblem]:
    if not model.removeprefix("mteb:").strip():
        yield ("model",), "'mteb:' names no model. Write 'mteb:<name>', as mteb names it."


class CodeSpec(Spec):
    """What every table of a user's own code says.

    Attributes:
        factory: ``module:function`` or ``path/to/file.py:function``, relative to the suite file.
        arguments: passed to it.
        version: of the code; change it whenever the output changes.
    """

    refused: ClassVar[Mapping[str, str]] = _OF_CODE

    factory: str
    arguments: dict[str, JsonValue] = {}
    version: str = Field(min_length=1)


def place_problems(factory: str) -> Iterator[KeyProblem]:
    """Yield what is wrong with the place of a function."""
    where, _, function = factory.rpartition(":")
    if not where or not function.isidentifier():
        forms = '"module:function" or "path/to/file.py:function"'
        yield ("factory",), f"'factory' must be {forms}, got {factory!r}."


class Factory(CodeSpec, Root):
    """``factory = …``: your own encoder, called like those of sentence-transformers or mteb.

    Attributes:
        similarity: of its vectors.
        matryoshka: widths that the model was trained for.
    """

    word: ClassVar[str] = "factory"
    weightless: ClassVar[str] = (
        "is your own code, so its weights cannot be trained here. Name a local folder or a hub "
        "model."
    )
    has_vectors: ClassVar[bool] = True
    can_search: ClassVar[bool] = True
    finds_by: ClassVar[Literal["words", "vectors"] | None] = "vectors"

    similarity: Similarity = "cosine"
    matryoshka: Widths = []

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"{self.factory}, version {self.version}"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        yield from place_problems(self.factory)


class MtebRerankSpec(SecondStageSpec):
    """What scores the first stage's top documents again: a cross-encoder that mteb loads.

    Attributes:
        model: ``mteb:<name>``.
        revision: None takes the one that mteb names; another one is refused by mteb.
    """

    refused: ClassVar[Mapping[str, str]] = _OF_MTEB

    model: str
    revision: str | None = None

    def rerank_problems(self) -> Iterator[KeyProblem]:
        """Yield what is wrong with it."""
        yield from _unnamed(self.model)


class MtebReranking(SecondStage):
    """``rerank = { model = "mteb:<name>" }``: the parent's top, in a cross-encoder's order."""

    word: ClassVar[str] = "mteb rerank"

    rerank: MtebRerankSpec

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"top {self.rerank.depth} reranked by {self.rerank.model}"


class OwnRerankSpec(CodeSpec, SecondStageSpec):
    """What scores the first stage's top documents again: your own cross-encoder."""

    def rerank_problems(self) -> Iterator[KeyProblem]:
        """Yield what is wrong with where the code lies."""
        yield from place_problems(self.factory)


class OwnReranking(SecondStage):
    """``rerank = { factory = … }``: the parent's top, in your own cross-encoder's order."""

    word: ClassVar[str] = "own rerank"

    rerank: OwnRerankSpec

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        how = self.rerank
        return f"top {how.depth} reranked by {how.factory}, version {how.version}"
