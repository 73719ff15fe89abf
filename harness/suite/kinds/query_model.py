"""Query model: the vectors of one model's documents, asked with the vectors of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Discriminator, SerializeAsAny, Tag

from harness.providers.table import PROVIDERS
from harness.suite.kinds.api import Api
from harness.suite.kinds.dense import Dense
from harness.suite.kinds.kind import (
    CandidateSpec,
    Compression,
    KeyProblem,
    RestOfSuite,
    Root,
    uncompressed,
)
from harness.suite.kinds.vectors import VectorFiles

QuerySpec = Dense | Api

_WEIGHTLESS = (
    "has another model for its queries, and training one of the two would separate their "
    "vector spaces. Name a 'model' or 'finetune' candidate."
)


def _table(value: Any) -> Any:
    """Return the table of a model that is named alone."""
    return {"model": value} if isinstance(value, str) else value


def _kind(value: Any) -> str:
    model = value.get("model") if isinstance(value, dict) else getattr(value, "model", "")
    return "[api]" if str(model).partition(":")[0] in PROVIDERS else "[dense]"


# A model as ``model`` names it, a table with its settings, or a candidate that is such a model.
QuerySide = Annotated[
    SerializeAsAny[Annotated[Dense, Tag("[dense]")] | Annotated[Api, Tag("[api]")]],
    Discriminator(_kind),
    BeforeValidator(_table, json_schema_input_type=str | Dense | Api),
]


def query_side(named: QuerySpec, candidates: Mapping[str, CandidateSpec]) -> QuerySpec:
    """Return the model that encodes queries, with its settings; those of a candidate of its name.

    >>> query_side(Dense(model="small"), {"small": Dense(model="a/b", dtype="float32")}).dtype
    'float32'
    """
    found = candidates.get(named.model)
    return found if isinstance(found, QuerySpec) and named == Dense(model=named.model) else named


def _problems(named: QuerySpec, suite: RestOfSuite) -> Iterator[KeyProblem]:
    """Yield what is wrong with a model for queries."""
    kind = type(suite.typed.get(named.model, named))
    if kind not in (Dense, Api):
        yield (
            ("query_model",),
            f"'{named.model}' is a candidate of the kind '{kind.word}'. Name a published model.",
        )
    elif named.model not in suite.names:
        yield from ((("query_model", *keys), text) for keys, text in named.problems(suite))


class QueryModel(Compression):
    """``query_model = …``: the parent's documents, searched with another model's query vectors.

    Attributes:
        query_model: of the same vector space and width, usually cheaper.
    """

    word: ClassVar[str] = "query model"
    action: ClassVar[str] = "use a smaller query encoder"
    weightless: ClassVar[str] = _WEIGHTLESS
    compresses: ClassVar[bool] = False

    query_model: QuerySide

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"queries encoded by {self.query_model.model}"

    @property
    def size(self) -> float:
        """One kind of queries: no query model is smaller than another."""
        return 1

    @property
    def series(self) -> str:
        """Each query model is tested by itself."""
        return f"queries by {self.query_model.model}"

    @property
    def left(self) -> str:
        """What answers in place of the parent."""
        return self.summary

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from suite.name_problems("from", self.parent)
        parent = suite.typed.get(uncompressed(suite.typed, self.parent))
        if parent is not None and not parent.has_vectors:
            yield ("from",), f"'{self.parent}' compares no vectors. Name a dense candidate."
        elif isinstance(parent, VectorFiles):
            message = f"'{self.parent}' reads its query vectors from files."
            yield ("from",), f"{message} Give it files encoded by the other model."
        yield from _problems(self.query_model, suite)


class _Asked(Root):
    """A model for documents, another one for queries."""

    weightless: ClassVar[str] = _WEIGHTLESS

    query_model: QuerySide

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"{super().summary}, queries encoded by {self.query_model.model}"

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        yield from _problems(self.query_model, suite)


class DenseAsked(_Asked, Dense):
    """``model = …, query_model = …``: a bi-encoder for documents, another model for queries."""

    word: ClassVar[str] = "asymmetric dense"
    has_weights: ClassVar[bool] = False


class ApiAsked(_Asked, Api):
    """The same, with documents at a provider."""

    word: ClassVar[str] = "asymmetric api"
