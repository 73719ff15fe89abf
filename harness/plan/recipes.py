"""Recipes: what a suite's trainings learn from, with negatives mined by its candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.models.crossencoder import label_problems
from harness.retrieval.encoding import Given
from harness.retrieval.reranking import CrossEncoderScorer
from harness.retrieval.run_stage import RunStage
from harness.suite.inputs import Inputs
from harness.suite.kinds.rerank import Rerank
from harness.suite.spec import Suite
from harness.suite.training import FilterSpec, FinetuneSpec, HardNegativesSpec, RerankerFinetuneSpec
from harness.training.data import TrainingData
from harness.training.leak_guard import LeakGuard
from harness.training.mining import Examples, MineNegatives, PairScorer, searched, where
from harness.training.reranker import TrainReranker

if TYPE_CHECKING:
    from harness.plan.dense import DenseModels
    from harness.plan.kinds.builder import Builder


class FirstStage(NamedTuple):
    """The search that finds negatives, and what scores the relevant documents alike."""

    run: RunStage
    scorer: PairScorer


class Recipes:
    """Builds what each training learns from; every split is read once.

    Args:
        suite: the question.
        inputs: its collections.
        models: the candidates with vectors, those that a training needs already resolved.
        builder: returns the builder of a candidate.
        seeds: training seed of each candidate.
    """

    def __init__(
        self,
        suite: Suite,
        inputs: Inputs,
        models: DenseModels,
        *,
        builder: Callable[[str], Builder[Any]],
        seeds: Mapping[str, int],
    ) -> None:
        self._builder = builder
        self._suite = suite
        self._seeds = seeds
        self._guard = LeakGuard(inputs)
        self._inputs = inputs
        self._models = models
        self._splits: dict[str, Collection] = {}
        self._rerankers: dict[str, TrainReranker] = {}

    def examples(
        self, name: str, recipe: FinetuneSpec | RerankerFinetuneSpec, *, searcher: str
    ) -> Examples:
        """Return the examples of one training.

        Args:
            name: the candidate that is trained.
            recipe: how.
            searcher: the candidate that finds hard negatives if the recipe names none.

        Raises:
            HarnessError: data can not be read or give scored queries away, or negatives can not be
                mined for it.
        """
        rows = self._without_leaks(name, recipe)
        negatives = recipe.hard_negatives
        if negatives is None:
            return Examples(rows)
        if rows.shape != "pairs":
            raise HarnessError(
                f"hard_negatives are mined for pairs, got {rows.shape}, which bring their own "
                "contrast. Remove hard_negatives.",
                exit_code=ExitCode.USAGE,
            )
        known = self._models.sources.read(recipe.data)
        searcher = negatives.candidate or searcher
        return Examples(rows, self._mine(name, rows, known, negatives, searcher=searcher))

    def reranker(self, name: str, spec: Rerank) -> TrainReranker:
        """Return the stage that trains the cross-encoder of a candidate.

        Raises:
            HarnessError: there is nothing to learn from, or no transformer to train.
        """
        if name not in self._rerankers:
            self._rerankers[name] = self._make_reranker(name, spec)
        return self._rerankers[name]

    def _make_reranker(self, name: str, spec: Rerank) -> TrainReranker:
        how, recipe = spec.rerank, spec.rerank.finetune
        if recipe is None or how.model is None:
            raise TypeError(f"{name} trains no cross-encoder")
        base = self._models.find_weights(how.model, how.revision)
        if base is not None and base.is_static:
            raise HarnessError(
                f"rerank: '{how.model}' is static and can not read query and document together. "
                "Name a transformer.",
                exit_code=ExitCode.USAGE,
            )
        if base is not None and base.labels is not None and base.labels > 1:
            raise HarnessError(
                f"rerank: '{how.model}' classifies into {base.labels} labels, and a reranker has "
                "one score. Name a cross-encoder of one score, or a plain transformer.",
                exit_code=ExitCode.USAGE,
            )
        learnt = recipe
        if recipe.hard_negatives is None and (
            self._models.sources.read(recipe.data).shape == "pairs"
        ):
            learnt = recipe.model_copy(update={"hard_negatives": HardNegativesSpec()})
        examples = self.examples(name, learnt, searcher=spec.parent)
        if examples.shape == "texts":
            raise HarnessError(
                "rerank: finetune learns from pairs of texts, got texts alone. Name other data.",
                exit_code=ExitCode.USAGE,
            )
        return TrainReranker(
            name=name,
            base=Given(base),
            spec=recipe,
            examples=examples,
            max_length=how.max_length,
            seed=self._seeds[name],
        )

    def _without_leaks(
        self, name: str, recipe: FinetuneSpec | RerankerFinetuneSpec
    ) -> TrainingData:
        """Return the data of a recipe, and note what is dropped of it and what gives away a query.

        Raises:
            HarnessError: exit code 3, the data give away queries and the recipe does not say what
                to do about it.
        """
        guarded = self._guard.check(self._models.sources.read(recipe.data), recipe.leaks)
        self._models.warnings += [f"candidate '{name}': {text}" for text in guarded.dropped]
        if guarded.allowed:
            self._models.leaked[name] = guarded.allowed
        return guarded.data

    def _mine(
        self,
        name: str,
        pairs: TrainingData,
        known: TrainingData,
        spec: HardNegativesSpec,
        *,
        searcher: str,
    ) -> MineNegatives:
        if not self._suite.candidates[searcher].can_search:
            raise HarnessError(
                f"hard_negatives: '{searcher}' does not search by itself. Name a candidate with "
                'kind = "bm25" or with a model: hard_negatives = { candidate = "…" }.',
                exit_code=ExitCode.USAGE,
            )
        collection = searched(pairs, [*self._corpora(pairs)])
        first = self._builder(searcher).finds(collection, where(pairs), depth=spec.range[1])
        return MineNegatives(
            name=name,
            pairs=pairs,
            relevant=known,
            spec=spec,
            collection=collection,
            first=first.run,
            scorer=first.scorer,
            judge=None if spec.filter is None else self._judge(spec.filter, collection),
            seed=self._suite.seed,
        )

    def _corpora(self, pairs: TrainingData) -> Iterator[Collection]:
        """Yield the collections that pairs come from, or whose passages were asked about."""
        for origin in pairs.origins:
            collection, colon, split = origin.name.partition(":")
            asked = None if colon else self._suite.training[origin.name].passages_of
            if asked is not None:
                yield self._inputs.collections[asked]
            elif colon:
                if origin.name not in self._splits:
                    self._splits[origin.name] = self._inputs.split(collection, split)
                yield self._splits[origin.name]

    def _judge(self, spec: FilterSpec, collection: Collection) -> CrossEncoderScorer:
        weights = self._models.find_weights(spec.model, spec.revision)
        if weights is not None and weights.layout != "cross-encoder":
            raise HarnessError(
                f"hard_negatives: filter: '{spec.model}' is no cross-encoder. Name one.",
                exit_code=ExitCode.USAGE,
            )
        labels = weights.labels if weights is not None else None
        for problem in label_problems(spec.model, labels):
            raise HarnessError(f"hard_negatives: filter: {problem}", exit_code=ExitCode.USAGE)
        return CrossEncoderScorer(
            name=spec.model,
            model=Given(weights),
            dtype="float32",
            max_length=spec.max_length,
            collection=collection,
        )
