"""Multi-vector: a late-interaction model, with a vector a token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.arrays import Rows
from harness.collection import Collection
from harness.models import Side
from harness.models.folder import Choices
from harness.models.source import Given
from harness.models.weights import Weights
from harness.plan.candidates import EncodingBuilder
from harness.plan.dense import TextModel, given_prompts, ids_key
from harness.retrieval.encoding import Texts
from harness.retrieval.latency import Step
from harness.retrieval.maxsim import SearchTokens, TokenSearch, TokenSpace
from harness.retrieval.ragged import EncodeTokens
from harness.retrieval.reranking import StoredScorer
from harness.retrieval.run_stage import RunStage
from harness.store import Store
from harness.suite.kinds.multi_vector import MultiVector


@dataclass(frozen=True)
class TokenTexts(TextModel[TokenSpace]):
    """A late-interaction model's token vectors of texts.

    Attributes:
        mean: scores are divided by the query's tokens.
        pooling: of a document's tokens about one in so many is kept; None keeps all.
    """

    mean: bool
    pooling: float | None

    def encode(self, role: Side, texts: Texts) -> EncodeTokens:
        """Return the stage that encodes texts; only documents are pooled."""
        if self.model is None:
            raise TypeError(f"{self.owner} encodes nothing")
        return EncodeTokens(
            name=self.owner,
            model=self.model,
            role=role,
            prompt=self.prompts_with(texts.instruction)[0 if role == "query" else 1],
            dtype="float32",
            max_length=self.max_length,
            texts=texts,
            pooling=self.pooling if role == "document" else None,
        )

    def space(self, documents: EncodeTokens, queries: EncodeTokens) -> TokenSpace:
        """Return the space that is searched."""
        return TokenSpace(documents, queries, self.mean)

    def search(
        self,
        name: str,
        space: TokenSpace,
        collection: Collection,
        *,
        depth: int,
        forbidden: Rows | None = None,
    ) -> RunStage:
        """Return the stage that scores every document."""
        return TokenSearch(name, space, ids_key(collection), depth, forbidden)

    def search_steps(
        self, name: str, space: TokenSpace, collection: Collection, *, device: str, depth: int
    ) -> tuple[Step, ...]:
        """Return the score with every document."""
        return (SearchTokens(name, collection, device, space, depth),)

    def scorer(self, space: TokenSpace) -> StoredScorer:
        """Return the score of pairs."""
        return space


class MultiVectorBuilder(EncodingBuilder[MultiVector]):
    """A late-interaction model, with a vector a token."""

    def model(self) -> TokenTexts:
        """Return the model as published."""
        spec, weights = self.spec, self._weights
        return TokenTexts(
            owner=self.name,
            model=Given(weights),
            prompts=given_prompts(weights, spec.prompts),
            max_length=None,
            mean=weights is not None and weights.similarity == "meanmaxsim",
            pooling=spec.token_pooling,
        )

    def problems(self) -> Iterator[str]:
        """Warn of what its files make doubtful."""
        yield from ()
        weights = self._weights
        if weights is not None:
            self.planner.warnings += [f"'{self.name}': {each}" for each in weights.doubts]

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return the key of the weights: the same model fails alike under any name."""
        return self._weights.key if self._weights is not None else self.name

    @property
    def _weights(self) -> Weights | None:
        spec = self.spec
        chosen = Choices(trust_remote_code=spec.trust_remote_code, kind="multi-vector")
        return self.planner.find_weights(spec.multi_vector, spec.revision, chosen)
