"""Rerank: the parent's top documents in the order of another model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, TypeVar

from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.models.crossencoder import label_problems
from harness.models.folder import Choices
from harness.models.source import Given, ModelSource
from harness.models.weights import Weights
from harness.plan.candidates import Builder, Steps
from harness.plan.dense import loading_problems
from harness.plan.recipes import examples_of
from harness.retrieval.latency import RescoreQuery
from harness.retrieval.precision import arithmetics, open_or_named
from harness.retrieval.reranking import CrossEncoderScorer, Rerank, Scorer
from harness.retrieval.run_stage import RunStage
from harness.store import Store
from harness.suite.kinds.rerank import Reranking, SecondStage
from harness.suite.training import HardNegativesSpec
from harness.training.mining import Examples
from harness.training.reading import NotAskedError
from harness.training.reranker import TrainReranker

SecondStageT = TypeVar("SecondStageT", bound=SecondStage)


class SecondStageBuilder(Builder[SecondStageT], ABC):
    """The parent's top documents in the order of new scores.

    Attributes:
        rescoring: the step of one query.
    """

    rescoring: ClassVar[type[RescoreQuery]] = RescoreQuery

    def run(self, collection: Collection) -> Rerank:
        """Return the parent's run, reranked."""
        first = self.planner.run_stage(self.spec.parent, collection.name)
        return Rerank(self.label(collection), first, self.scorer(collection), self.spec.depth)

    def steps(self, collection: Collection) -> Steps:
        """Return the parent's steps, what encodes a query for a cascade, and the scoring."""
        planner, place = self.planner, collection.name
        stage = planner.run_stage(self.name, place)
        if not isinstance(stage, Rerank):
            raise TypeError(f"{self.name} is no reranker")
        before = planner.steps(self.spec.parent, place)
        second = [step for each in self.spec.helpers for step in planner.steps(each, place)[:1]]
        again = self.rescoring(
            self.label(collection),
            collection,
            planner.device,
            stage.first,
            stage.scorer,
            stage.depth,
        )
        return tuple(dict.fromkeys((*before, *second, again)))

    def doubts(self, stage: RunStage, collection: Collection) -> Iterator[str]:  # noqa: ARG002
        """Yield where it orders a part of the shortlists that a collection gives."""
        depth, lists = self.spec.depth, collection.judgements.shortlists
        if lists is not None and lists.shape[1] > depth:
            yield (
                f"'{self.name}': rerank.depth = {depth}, but the lists to rank of "
                f"'{collection.name}' hold up to {lists.shape[1]} documents, and mteb reranks all. "
                "Raise depth to compare with its score."
            )

    @abstractmethod
    def scorer(self, collection: Collection) -> Scorer:
        """Return what scores again, one for all candidates that name it alike."""


class RerankBuilder(SecondStageBuilder[Reranking]):
    """The parent's top documents in the order of a cross-encoder, or of another candidate."""

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with a cross-encoder; a trained one may start from a bi-encoder."""
        how, planner = self.spec.rerank, self.planner
        if how.model is None:
            return
        weights = self._published()
        other = weights is not None and weights.layout != "cross-encoder"
        if other and how.finetune is None:
            yield (
                f"rerank: '{how.model}' is a bi-encoder. Make it a candidate and use "
                'rerank = { candidate = "…" }, or train it first: finetune = { data = … }.'
            )
        if weights is not None and how.finetune is None:
            yield from label_problems(how.model, weights.labels)
            warnings = planner.warnings
            warnings += [doubt for doubt in weights.doubts if doubt not in warnings]
        yield from loading_problems(weights, how, planner.device)

    def training(self) -> TrainReranker | None:
        """Return the training of its cross-encoder; None where it is taken as published."""
        return None if self.spec.rerank.finetune is None else self._trained

    def examples(self) -> Examples | None:
        """Return what its cross-encoder learns from; None where it is taken as published."""
        return None if self.spec.rerank.finetune is None else self._trained.examples

    def family(self, store: Store) -> str | None:
        """Return what orders the documents: the cross-encoder, or the cascade's family."""
        how = self.spec.rerank
        if how.candidate is not None:
            return self.planner.builder(how.candidate).family(store)
        weights = self._published()
        return f"reranker {weights.key}" if weights is not None else self.name

    def scorer(self, collection: Collection) -> Scorer:
        """Return the cross-encoder, or the cascade's space."""
        how = self.spec.rerank
        if how.candidate is not None:
            space = self.planner.space(how.candidate, collection.name)
            return self.planner.models[how.candidate].scorer(space)
        choices = (how.model, how.revision, how.dtype, how.engine, how.max_length)
        shared = repr((*choices, how.trust_remote_code))
        place = (shared if how.finetune is None else self.name, collection.name)
        scorers = self.planner.scorers  # one for all candidates of a cross-encoder
        if place not in scorers:
            name, model = str(how.model) if how.finetune is None else self.name, self._model()
            plain = CrossEncoderScorer(name, model, "float32", how.max_length, collection)
            pairs = sum(len(each.queries) for each in self.planner.collections.values()) * how.depth
            tried = arithmetics(how.dtype, how.engine, self.planner.device)
            dtype = open_or_named(tried, name, model, how.max_length, texts=pairs, kept=(plain,))
            scorers[place] = replace(plain, dtype=dtype)
        return scorers[place]

    def _published(self) -> Weights | None:
        how = self.spec.rerank
        chosen = Choices(trust_remote_code=how.trust_remote_code)
        return self.planner.find_weights(str(how.model), how.revision, chosen)

    def _model(self) -> ModelSource:
        how, planner = self.spec.rerank, self.planner
        if how.finetune is None:
            return Given(self._published())
        try:
            return self._trained
        except NotAskedError as error:
            planner.warnings.append(f"'{self.name}': {error}")
            return Given(None)

    @cached_property
    def _trained(self) -> TrainReranker:
        """The stage that trains the cross-encoder; errors where nothing can be learned."""
        how, recipe, planner = self.spec.rerank, self.spec.rerank.finetune, self.planner
        if recipe is None or how.model is None:
            raise TypeError(f"{self.name} trains no cross-encoder")
        base = self._published()
        if base is not None and base.is_static:
            raise HarnessError(
                f"rerank: '{how.model}' is static and cannot read query and document together. "
                "Name a transformer.",
                exit_code=ExitCode.USAGE,
            )
        if base is not None and base.labels is not None and base.labels > 1:
            raise HarnessError(
                f"rerank: '{how.model}' classifies into {base.labels} labels, but a reranker has "
                "one score. Name a cross-encoder with one score, or a plain transformer.",
                exit_code=ExitCode.USAGE,
            )
        learnt = recipe
        if recipe.hard_negatives is None and planner.sources.read(recipe.data).shape == "pairs":
            learnt = recipe.model_copy(update={"hard_negatives": HardNegativesSpec()})
        examples = examples_of(planner, self.name, learnt, searcher=self.spec.parent)
        if examples.shape == "texts":
            raise HarnessError(
                "rerank: finetune learns from pairs of texts, got texts alone. Name other data.",
                exit_code=ExitCode.USAGE,
            )
        return TrainReranker(
            name=self.name,
            base=Given(base),
            spec=recipe,
            examples=examples,
            max_length=how.max_length,
            seed=planner.replicas.seeds[self.name],
        )
