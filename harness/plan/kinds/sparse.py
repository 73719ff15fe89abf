"""Sparse: a model that gives weights of terms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.arrays import Rows
from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.models import Side
from harness.models.folder import Choices
from harness.models.source import Given
from harness.models.weights import Weights
from harness.plan.candidates import EncodingBuilder
from harness.plan.dense import TextModel, given_prompts, ids_key, length_problems
from harness.retrieval.encoding import Texts
from harness.retrieval.latency import Step
from harness.retrieval.ragged import EncodeSparse
from harness.retrieval.reranking import StoredScorer
from harness.retrieval.run_stage import RunStage
from harness.retrieval.sparse import SearchPostings, SparseSearch, SparseSpace
from harness.store import Store
from harness.suite.kinds.sparse import Sparse
from harness.suite.table import Similarity


@dataclass(frozen=True)
class SparseTexts(TextModel[SparseSpace]):
    """A sparse encoder's terms of texts.

    Attributes:
        similarity: of the weights.
        most: terms kept of a text; None takes the model's own.
    """

    similarity: Similarity
    most: int | None

    def encode(self, role: Side, texts: Texts) -> EncodeSparse:
        """Return the stage that encodes texts."""
        if self.model is None:
            raise TypeError(f"{self.owner} encodes nothing")
        return EncodeSparse(
            name=self.owner,
            model=self.model,
            role=role,
            prompt=self.prompts_with(texts.instruction)[0 if role == "query" else 1],
            dtype="float32",
            max_length=self.max_length,
            texts=texts,
            most=self.most,
        )

    def space(self, documents: EncodeSparse, queries: EncodeSparse) -> SparseSpace:
        """Return the space that is searched."""
        return SparseSpace(documents, queries, self.similarity)

    def search(
        self,
        name: str,
        space: SparseSpace,
        collection: Collection,
        *,
        depth: int,
        forbidden: Rows | None = None,
    ) -> RunStage:
        """Return the stage that searches by terms."""
        return SparseSearch(name, space, ids_key(collection), depth, forbidden)

    def search_steps(
        self, name: str, space: SparseSpace, collection: Collection, *, device: str, depth: int
    ) -> tuple[Step, ...]:
        """Return the search of the postings."""
        return (SearchPostings(name, collection, device, space, depth),)

    def scorer(self, space: SparseSpace) -> StoredScorer:
        """Return the similarity in a space."""
        return space


class SparseBuilder(EncodingBuilder[Sparse]):
    """A model that gives weights of terms."""

    def model(self) -> SparseTexts:
        """Return the model as published.

        Raises:
            HarnessError: its files hold no sparse encoder that is searched by inner product.
        """
        spec, weights = self.spec, self._weights
        similarity = (weights.similarity if weights is not None else None) or "dot"
        if similarity not in {"cosine", "dot"}:
            raise HarnessError(
                f"'{spec.sparse}' declares the similarity '{similarity}'; search is by inner "
                'product, with "dot" or "cosine". Correct similarity_fn_name of its '
                "config_sentence_transformers.json.",
                exit_code=ExitCode.USAGE,
            )
        return SparseTexts(
            owner=self.name,
            model=Given(weights),
            prompts=given_prompts(weights, spec.prompts),
            max_length=spec.max_length,
            similarity="cosine" if similarity == "cosine" else "dot",
            most=spec.max_active_dims,
        )

    def problems(self) -> Iterator[str]:
        """Yield a sentence where more tokens are asked for than the model has positions for."""
        weights = self._weights
        if weights is not None:
            self.planner.warnings += [f"'{self.name}': {each}" for each in weights.doubts]
        yield from length_problems(weights, self.spec.sparse, self.spec.max_length)

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return the key of the weights: the same model fails alike under any name."""
        return self._weights.key if self._weights is not None else self.name

    @property
    def _weights(self) -> Weights | None:
        spec = self.spec
        chosen = Choices(trust_remote_code=spec.trust_remote_code, kind="sparse")
        return self.planner.find_weights(spec.sparse, spec.revision, chosen)
