"""Recipes: what a suite's trainings learn from, with negatives mined by its candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.collection import Collection
from harness.errors import ExitCode, HarnessError
from harness.models.crossencoder import label_problems
from harness.models.source import Given
from harness.plan.candidates import Planner
from harness.plan.dense import TextModel
from harness.retrieval.reranking import CrossEncoderScorer
from harness.suite.training import FilterSpec, FinetuneSpec, HardNegativesSpec, RerankerFinetuneSpec
from harness.training.data import TrainingData
from harness.training.mining import Examples, MineNegatives, searched, where


def examples_of(
    planner: Planner, name: str, recipe: FinetuneSpec | RerankerFinetuneSpec, *, searcher: str
) -> Examples:
    """Return the examples of one training, and note what is doubtful about them.

    Args:
        planner: that has worked out what the training needs.
        name: the candidate that is trained.
        recipe: how.
        searcher: the candidate that finds hard negatives if the recipe names none.

    Raises:
        HarnessError: data cannot be read or give scored queries away, or negatives cannot be
            mined for it.
    """
    for data in recipe.data:
        if ":" in data and planner.judged(data).passages is not None:
            raise HarnessError(
                f"'{data}' is judged by document and searched by passage, so the answering passage "
                "is unknown. Judge passages, as in 'guide.md#3', or train on synthetic queries: a "
                'table with source = "synthetic:…".',
                exit_code=ExitCode.DATA,
            )
    known = planner.sources.read(recipe.data)
    guarded = planner.guard.check(known, recipe.leaks)
    planner.warnings += [f"'{name}': {text}" for text in guarded.dropped]
    if guarded.allowed:
        planner.leaked[name] = guarded.allowed
    rows, negatives = guarded.data, recipe.hard_negatives
    if negatives is None:
        return Examples(rows)
    if rows.shape != "pairs":
        raise HarnessError(
            f"hard_negatives are mined for pairs, got {rows.shape}, which bring their own "
            "contrast. Remove hard_negatives.",
            exit_code=ExitCode.USAGE,
        )
    searcher = negatives.candidate or searcher
    return Examples(rows, _mine(planner, name, rows, known, negatives, searcher=searcher))


def _mine(
    planner: Planner,
    name: str,
    pairs: TrainingData,
    known: TrainingData,
    spec: HardNegativesSpec,
    *,
    searcher: str,
) -> MineNegatives:
    if not planner.suite.candidates[searcher].can_search:
        raise HarnessError(
            f"hard_negatives: '{searcher}' does not search by itself. Name a candidate with "
            'kind = "bm25" or with a model: hard_negatives = { candidate = "…" }.',
            exit_code=ExitCode.USAGE,
        )
    collection = searched(pairs, [*_corpora(planner, pairs)])
    instruction = None
    if searcher in planner.models:
        origins = [origin.name for origin in pairs.origins]
        instruction = instruction_for(planner, planner.models[searcher], origins)
    first = planner.builder(searcher).finds(
        collection, where(pairs), depth=spec.range[1], instruction=instruction
    )
    return MineNegatives(
        name=name,
        pairs=pairs,
        relevant=known,
        spec=spec,
        collection=collection,
        first=first.run,
        scorer=first.scorer,
        judge=None if spec.filter is None else _judge(planner, spec.filter, collection),
        seed=planner.suite.seed,
    )


def instruction_for(planner: Planner, model: TextModel[Any], data: Sequence[str]) -> str | None:
    """Return the instruction of the collections that training data come from.

    Data of no collection are taken for those of any.

    Args:
        planner: of the suite.
        model: that reads them; one whose prompts hold no instruction is told none.
        data: names of training data, as a recipe names them.

    Raises:
        HarnessError: exit code 2, they come from collections with different instructions.
    """
    if not model.is_instructed:
        return None
    known, found = planner.suite.collections, set[str | None]()
    for name in data:
        place, colon, _ = name.partition(":")
        source = place if colon else planner.suite.training[name].passages_of
        found |= {known[each].instruction for each in ([source] if source else known)}
    if len(found) > 1:
        named = " and ".join(f"'{name}'" for name in data)
        raise HarnessError(
            f"{named} come from collections with different instructions, but a model is trained "
            "with one prompt. Give them one instruction, or train on one collection.",
            exit_code=ExitCode.USAGE,
        )
    return next(iter(found), None)


def _corpora(planner: Planner, pairs: TrainingData) -> Iterator[Collection]:
    """Yield the collections that pairs come from, or whose passages were asked about."""
    for origin in pairs.origins:
        collection, colon, split = origin.name.partition(":")
        asked = None if colon else planner.suite.training[origin.name].passages_of
        if asked is not None:
            yield planner.collections[asked]
        elif colon:
            yield planner.split(collection, split)


def _judge(planner: Planner, spec: FilterSpec, collection: Collection) -> CrossEncoderScorer:
    weights = planner.find_weights(spec.model, spec.revision)
    if weights is not None and weights.layout != "cross-encoder":
        raise HarnessError(
            f"hard_negatives: filter: '{spec.model}' is not a cross-encoder. Name one.",
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
