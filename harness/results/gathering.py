"""Gathering: what a finished plan found, read from its stages and put together as results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.arrays import Clusters
from harness.artifact import Artifact
from harness.models.own import Code
from harness.models.source import ModelSource
from harness.models.weights import Weights
from harness.plan.dense import DenseModel, query_prompts
from harness.plan.plan import Plan
from harness.results.billing import at_providers
from harness.results.chunk_sizes import chunk_sizes
from harness.results.comparison import Comparison, Edge, Overall, Sizes, compare, compare_overall
from harness.results.learning_curve import learning_curves
from harness.results.recall import recalls
from harness.results.spaces import dimension_of, spaces_apart
from harness.results.training import (
    dev_warnings,
    forgetting,
    fusion_warnings,
    is_synthetic,
    mined_negatives,
    synthetic_origins,
    synthetic_warnings,
    tuned_on,
)
from harness.results.values import (
    CandidateResult,
    CollectionResult,
    Cost,
    Costs,
    Cut,
    Results,
    Score,
    TaskScore,
)
from harness.retrieval.index import IndexQuery
from harness.retrieval.latency import EncodeQuery, RescoreQuery, Step, timing
from harness.retrieval.reranking import CrossEncoderScorer
from harness.runs.metrics import Scorecard
from harness.statistics import mean_interval
from harness.statistics.seeds import seed_spread


def gather(plan: Plan, *, failed: Sequence[str] = ()) -> Results:
    """Read the scorecards of a finished plan, compare, and put everything together.

    Args:
        plan: finished, or the part of one that is.
        failed: what is left out of the suite, and why, as sentences.
    """
    suite = plan.suite
    return Results(
        suite=suite.name,
        question=suite.question,
        baseline=suite.baseline,
        metrics=[str(metric) for metric in suite.parsed_metrics()],
        seed=suite.seed,
        gain=suite.decision.gain,
        margin=suite.decision.margin,
        depth=plan.depth,
        collections=list(_collections(plan)),
        candidates=[candidate_result(plan, name) for name in suite.candidates],
        scores=[score for place in plan.scored for score in scores(plan, *place)],
        comparisons=list(_comparisons(plan)),
        overall=list(_overall(plan)),
        cuts=list(cuts(plan)),
        warnings=[
            *plan.planner.warnings,
            *spaces_apart(plan),
            *fusion_warnings(plan),
            *synthetic_warnings(plan),
            *dev_warnings(plan),
        ],
        forgetting=list(forgetting(plan)),
        mined=list(mined_negatives(plan)),
        learning_curves=list(learning_curves(plan)),
        recalls=list(recalls(plan)),
        chunk_sizes=list(chunk_sizes(plan)),
        task_scores=list(_task_scores(plan)),
        failed=list(failed),
    )


def gather_costs(plan: Plan) -> Costs:
    """Read what the stages of a finished plan measured."""
    return Costs(costs=[_cost(plan, *place) for place in plan.scored])


def edges(plan: Plan) -> list[Edge]:
    """Return every candidate against the baseline and against each of its parents."""
    suite = plan.suite
    against_baseline: list[Edge] = [
        (name, suite.baseline, "baseline") for name in suite.candidates if name != suite.baseline
    ]
    against_parents: list[Edge] = [
        (name, parent, "parent")
        for name, spec in suite.candidates.items()
        for parent in dict.fromkeys(spec.parents)
    ]
    return against_baseline + against_parents


def _collections(plan: Plan) -> Iterator[CollectionResult]:
    for name, collection in plan.collections.items():
        yield CollectionResult(
            name=name,
            source=plan.suite.collections[name].source,
            split=collection.split,
            documents=len(collection.documents),
            queries=len(collection.queries),
            judgements=len(collection.judgements.grades),
            licence=collection.licence,
            key=collection.key,
            clusters=None if collection.clusters is None else len(np.unique(collection.clusters)),
            warnings=[problem.message for problem in plan.planner.inputs.problems[name]],
            role=plan.suite.collections[name].role,
            passages=None if collection.passages is None else len(collection.passages.ids),
            cut="" if collection.passages is None else str(collection.passages.cut),
            cut_otherwise=plan.suite.cut_otherwise.get(name),
        )


def candidate_result(plan: Plan, name: str) -> CandidateResult:
    """Return what a candidate is."""
    spec = plan.suite.candidates[name]
    model = plan.planner.models.get(name)
    weights = model.model.weights(plan.store) if model is not None and model.model else None
    dense = model if isinstance(model, DenseModel) else None
    return CandidateResult(
        name=name,
        kind=spec.word,
        change=spec.summary + (" (synthetic)" if synthetic_origins(plan, name) else ""),
        synthetic=is_synthetic(plan, name),
        parents=list(spec.parents),
        model=spec.reference,
        weights=weights.key if weights is not None else None,
        dimension=dimension_of(plan, name),
        trained_widths=list(dense.trained_widths) if dense is not None else [],
        similarity=dense.similarity if dense is not None else None,
        query_prompt=model.query_side.prompts[0] if model is not None else None,
        query_prompts=query_prompts(model, plan.suite),
        document_prompt=model.prompts[1] if model is not None else None,
        max_length=_limit(model.max_length, weights) if model is not None else None,
        seeds=plan.planner.replicas.trained(name),
        leaks=list(plan.planner.leaked.get(name, ())),
        tuned_on=tuned_on(plan.suite, name),
    )


def _limit(asked: int | None, weights: Weights | None) -> int | None:
    if weights is None or weights.is_static:
        return None
    return asked or weights.max_length


def scores(plan: Plan, name: str, collection: str) -> Iterator[Score]:
    """Yield the score of a candidate on a collection in every metric."""
    card = plan.scored[name, collection].result(plan.store)
    yield from card_scores(card, name, collection, clusters=plan.collections[collection].clusters)


def card_scores(
    card: Scorecard, name: str, collection: str, *, clusters: Clusters | None = None
) -> Iterator[Score]:
    """Yield the score of a scorecard in every metric.

    Args:
        card: of a candidate.
        name: of the candidate.
        collection: by name.
        clusters: int [n_queries], queries that are no independent evidence; None where all are.
    """
    for metric in card.values:
        if card.by_seed:
            interval = seed_spread(card.by_seed[metric], clusters=clusters).interval()
        else:
            interval = mean_interval(card.values[metric], clusters=clusters)
        yield Score(
            candidate=name,
            collection=collection,
            metric=metric,
            mean=interval.mean,
            # A mean of values between 0 and 1 lies there too, however few queries there are.
            low=max(0.0, interval.low),
            high=min(1.0, interval.high),
            n=card.n_queries,
            judged_at_10=float(card.judged_at_10.mean()),
            missing=int(card.missing.sum()),
            by_seed=card.by_seed[metric].mean(axis=0).tolist() if card.by_seed else [],
        )


def _task_scores(plan: Plan) -> Iterator[TaskScore]:
    """Yield the scores that are there: failures are reported elsewhere."""
    for (candidate, name), stage in plan.tasks.items():
        if stage.is_done(plan.store):
            yield TaskScore(
                candidate=candidate,
                task=name,
                source=plan.suite.tasks[name].source,
                kind=stage.task.kind,
                metric=stage.task.main_score,
                score=stage.result(plan.store),
            )


def _comparisons(plan: Plan) -> Iterator[Comparison]:
    for name, collection in plan.collections.items():
        yield from compare(
            _cards(plan, name),
            edges(plan),
            plan.suite.parsed_metrics(),
            collection=name,
            seed=plan.suite.seed,
            sizes=_sizes(plan),
            clusters=collection.clusters,
            store=plan.store,
        )


def _cards(plan: Plan, place: str) -> dict[str, Scorecard]:
    return {name: plan.scored[name, place].result(plan.store) for name in plan.suite.candidates}


def _overall(plan: Plan) -> Iterator[Overall]:
    """Yield every candidate against the baseline over all target collections, if several."""
    targets = plan.suite.collections_of("target")
    if len(targets) == 1:
        return
    against = [edge for edge in edges(plan) if edge[2] == "baseline"]
    yield from compare_overall(
        {collection: _cards(plan, collection) for collection in targets},
        against,
        plan.suite.parsed_metrics(),
        seed=plan.suite.seed,
        sizes=_sizes(plan),
        clusters={name: plan.collections[name].clusters for name in targets},
    )


def _sizes(plan: Plan) -> Sizes:
    return Sizes(gain=plan.suite.decision.gain, margin=plan.suite.decision.margin)


def cuts(plan: Plan) -> Iterator[Cut]:
    """Yield the share of texts beyond the limit, for each model that has one."""
    for (name, collection), sides in plan.lengths.items():
        shares = [side.share_cut(plan.store) for side in sides]
        encode = sides[0].encode
        limit = _limit(encode.max_length, encode.model.weights(plan.store))
        if shares[0] is not None and shares[1] is not None and limit is not None:
            yield Cut(
                candidate=name,
                collection=collection,
                limit=limit,
                documents=shares[0],
                queries=shares[1],
            )


def _cost(plan: Plan, name: str, collection: str) -> Cost:
    steps = plan.steps[name, collection]
    timed = [step.artifact(plan.store) for step in steps if step is not None]
    artifacts = [artifact for artifact in timed if artifact is not None]
    found = timing(steps, plan.store)
    total = None if found is None else found.milliseconds
    indexed = [n for each in artifacts if (n := each.meta["index_bytes"]) is not None]
    n_documents = len(plan.collections[collection].documents)
    shards: list[Artifact] = []
    if name in plan.planner.owners():
        shards = plan.planner.encodes(name, collection)[0].timings(plan.store)
    # Those of the candidate's documents that one device encoded.
    encoding = [each for each in shards if each.meta["device"] == shards[0].meta["device"]]
    built = [step.built.artifact(plan.store) for step in steps if isinstance(step, IndexQuery)]
    planner = plan.planner
    training = [  # one for each seed; none of what is not trained
        stage.stored(plan.store)
        for stage in map(planner.training, planner.replicas.names[name])
        if stage is not None
    ]
    return Cost(
        candidate=name,
        collection=collection,
        query_ms_p50=None if total is None else float(np.percentile(total, 50)),
        query_ms_p95=None if total is None else float(np.percentile(total, 95)),
        query_n=0 if total is None else len(total),
        bytes_per_document=(
            sum(indexed) / n_documents if indexed and len(indexed) == len(artifacts) else None
        ),
        parameters=_parameters(plan, steps),
        documents_per_second=_rate(encoding, "texts"),
        tokens_per_second=_rate(encoding, "tokens"),
        index_seconds=next((each.meta["seconds"] for each in built if each is not None), None),
        training_seconds=sum(each.meta["seconds"] for each in training) if training else None,
        training_pairs=training[0].meta["rows"] if training else None,
        device=artifacts[0].meta["device"] if artifacts else None,
        date=min((artifact.meta["date"] for artifact in artifacts), default=None),
        encoded_on=encoding[0].meta["device"] if encoding else None,
        query_asked=0 if found is None else found.asked,
        machine="unknown" if found is None else found.state,
        busy=[] if found is None else list(found.reasons),
        **at_providers(plan, name, collection),
    )


def _rate(shards: list[Artifact], unit: str) -> float | None:
    seconds = sum(shard.meta["seconds"] for shard in shards)
    return sum(shard.meta[unit] for shard in shards) / seconds if seconds else None


def _parameters(plan: Plan, steps: tuple[Step | None, ...]) -> int | None:
    """Return the weights of all distinct models that answer a query."""
    sizes: dict[str, int | None] = {}
    for step in steps:
        model: ModelSource | None = None
        if isinstance(step, EncodeQuery):
            model = step.encode.model
        elif isinstance(step, RescoreQuery) and isinstance(step.scorer, CrossEncoderScorer):
            model = step.scorer.model
        if step is None or step.pays:
            return None
        if isinstance(model, Code):
            sizes[model.name] = model.parameters
        elif model is not None and (weights := model.weights(plan.store)) is not None:
            sizes[weights.key] = weights.query_parameters
    known = [size for size in sizes.values() if size is not None]
    return sum(known) if len(known) == len(sizes) else None
