"""Api: a model at a provider, or at a server of one's own, as embedder or reranker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from harness.errors import did_you_mean
from harness.providers.table import PROVIDERS, ServedFacts, facts_of, named, providers_that
from harness.suite.kinds.dense import Prompts
from harness.suite.kinds.kind import KeyProblem, RestOfSuite, Root
from harness.suite.kinds.rerank import SecondStage, SecondStageSpec
from harness.suite.table import Similarity, Spec, Widths
from harness.suite.training import server_problems

_ELSEWHERE: Mapping[str, str] = {
    "dtype": "'dtype' is for local models; a provider chooses its own. Remove it.",
    "max_length": "'max_length' is for local models; a provider truncates texts at its own limit. "
    "Remove it.",
    "revision": "'revision' is for a model hub; a provider's model has none. Remove it.",
    "finetune": "'finetune' needs local weights, and a provider's are remote. Remove it.",
}


class Served(Spec):
    """What every table of a model at a provider may say.

    Attributes:
        model: ``<provider>:<model>``.
        base_url: of a server that speaks the provider's protocol; None takes the provider's own.
        key_variable: environment variable that holds the key; None takes the provider's usual one,
            and none at all with a `base_url`.
        price: in USD, of a million tokens, or of a thousand searches where the provider bills
            these; None takes the one in the table of providers.
        budget_usd: in USD, over all runs and all requests to the model; None for no limit.
        concurrency: requests at a time.
        timeout_seconds: of one request.
    """

    refused: ClassVar[Mapping[str, str]] = _ELSEWHERE

    model: str
    base_url: str | None = None
    key_variable: str | None = None
    price: float | None = Field(default=None, ge=0)
    budget_usd: float | None = Field(default=None, gt=0)
    concurrency: int = Field(default=4, ge=1, le=64)
    timeout_seconds: float = Field(default=60.0, gt=0)

    @property
    def provider(self) -> str:
        """The provider's name."""
        return named(self.model)[0]

    @property
    def facts(self) -> ServedFacts:
        """What is known of the model."""
        raise NotImplementedError

    @property
    def key_named(self) -> str | None:
        """The variable that holds the key.

        So the key of a provider is sent to another address only where the suite says so.
        """
        if self.key_variable is not None or self.base_url is not None:
            return self.key_variable
        return PROVIDERS[self.provider].key_variable

    @property
    def costs(self) -> float | None:
        """The price; None where it is not known. A server of one's own asks for no money."""
        known = self.facts.price if self.price is None else self.price
        return 0.0 if known is None and self.base_url is not None else known

    def served_problems(self) -> Iterator[KeyProblem]:
        """Yield what is wrong with how the model is reached and paid."""
        if not named(self.model)[1].strip():
            yield ("model",), f"'{self.model}' names no model. Write '{self.provider}:<model>'."
        for key, message in server_problems(self):
            yield (key,), message
        if self.budget_usd is not None and not self.costs:
            yield (
                ("budget_usd",),
                f"no price of '{self.model}' is known, so its budget has no effect. Set price.",
            )


class InputTypes(Spec):
    """Input types sent to the provider, in its own words; None takes what it documents.

    Cohere's and Voyage's ``input_type``, Gemini's task type, Jina's ``task``; "" sends none.
    """

    query: str | None = None
    document: str | None = None


class Api(Served, Root):
    """``model = "<provider>:…"``: an embedder at a provider.

    Attributes:
        dimensions: of its vectors. If it was trained for several widths, the full width is fetched
            once and cut here; otherwise the server is asked for this width.
        input_types: of queries and documents.
        prompts: put before the texts; None takes what the provider documents.
        similarity: of its vectors.
        matryoshka: widths that it was trained for, where they are not known.
    """

    word: ClassVar[str] = "api"
    weightless: ClassVar[str] = (
        "runs at a provider, so its weights cannot be trained here. Name a local folder or a hub "
        "model."
    )
    has_vectors: ClassVar[bool] = True
    can_search: ClassVar[bool] = True
    finds_by: ClassVar[Literal["words", "vectors"] | None] = "vectors"

    dimensions: int | None = Field(default=None, ge=1)
    input_types: InputTypes = InputTypes()
    prompts: Prompts = Prompts()
    similarity: Similarity = "cosine"
    matryoshka: Widths = []

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        said = [f"{side} as '{kind}'" for side, kind in self.input_types if kind is not None]
        said += [f"{self.dimensions} dimensions"] if self.dimensions is not None else []
        at = f" at {self.base_url}" if self.base_url is not None else ""
        return ", ".join([f"{self.model}{at}", *said])

    @property
    def reference(self) -> str:
        """The model."""
        return self.model

    @property
    def facts(self) -> ServedFacts:
        """What is known of the model."""
        name, model = named(self.model)
        embedding = PROVIDERS[name].embedding
        return ServedFacts() if embedding is None else facts_of(embedding.models, model)

    def problems(self, suite: RestOfSuite) -> Iterator[KeyProblem]:
        """Yield what is wrong between this table and the rest of the file."""
        yield from super().problems(suite)
        yield from self.prompts.problems()
        yield from self.served_problems()
        full, widths = self.facts.full_width, self.facts.widths
        if self.dimensions is not None and full is not None and not widths:
            message = f"'{self.model}' has vectors of {full:,} dimensions and no others."
            yield ("dimensions",), f"{message} Remove it."
        elif self.dimensions is not None and full is not None and self.dimensions > full:
            message = f"'{self.model}' has {full:,} dimensions. Give at most {full}."
            yield ("dimensions",), message
        embedding = PROVIDERS[self.provider].embedding
        takes_types = embedding is not None and any(embedding.input_types)
        if not takes_types and self.input_types != InputTypes():
            yield (
                ("input_types",),
                f"'{self.provider}' does not distinguish queries from documents. Use prompts.",
            )


class ApiRerankSpec(Served, SecondStageSpec):
    """What scores the first stage's top documents again: a reranker at a provider."""

    @property
    def facts(self) -> ServedFacts:
        """What is known of the model."""
        name, model = named(self.model)
        reranking = PROVIDERS[name].reranking
        return ServedFacts() if reranking is None else facts_of(reranking.models, model)

    def rerank_problems(self) -> Iterator[KeyProblem]:
        """Yield what is wrong with it."""
        entry = PROVIDERS[self.provider]
        if entry.reranking is None:
            known = did_you_mean("", providers_that("rerank"))
            yield (), f"'{self.provider}' has no rerankers.{known}"
        elif entry.reranks_at_home and self.base_url is None:
            text = "itself has no rerankers, but servers that speak its protocol do. Set base_url."
            yield (), f"'{self.provider}' {text}"
        for keys, message in self.served_problems():
            yield (), f"{keys[0]}: {message}"


class ApiReranking(SecondStage):
    """``rerank = { model = "<provider>:…" }``: the parent's top, in a provider's order."""

    word: ClassVar[str] = "api rerank"

    rerank: ApiRerankSpec

    @property
    def summary(self) -> str:
        """What the candidate is, or changes, in a few words."""
        return f"top {self.rerank.depth} reranked by {self.rerank.model}"
