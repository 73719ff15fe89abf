"""Gather: the situation of a finished plan, from what its stages stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from harness.collection import Collection
from harness.decision.failures import gather_failures
from harness.decision.holes import Holes, find_holes
from harness.decision.labels import contradiction
from harness.decision.options import (
    action_of,
    cost_of,
    leaks,
    over_budget,
    unmeasured_costs,
    unshortened,
)
from harness.decision.situation import Contradiction, Health, Option, OptionCost, Situation
from harness.plan.plan import Plan
from harness.published.better import BetterModels, better_models, sentences
from harness.published.reading import read_published
from harness.results.forgetting import Forgetting, forgetting, in_words, trained_parts
from harness.results.learning_curve import learning_curves
from harness.results.values import Costs
from harness.runs.headroom import Gap, oracle, split_gap
from harness.runs.metrics import Metric, Scorecard
from harness.runs.run import Run
from harness.suite.kinds.kind import compressions

_DEPTHS = (10, 20, 50, 100, 200)


def gather_situation(
    plan: Plan, costs: Costs, *, queues: Mapping[str, str] | None = None
) -> Situation:
    """Read everything that the decision looks at.

    Args:
        plan: finished.
        costs: gathered from it.
        queues: by collection, the file for the documents that are to be judged.

    Raises:
        HarnessError: the folder of published results can not be read.
    """
    suite = plan.suite
    metric = suite.deciding_metric
    collections = tuple(suite.collections_of("target"))
    money = {name: cost_of(plan, costs, name) for name in suite.candidates}
    found = _published(plan)
    gap, ceilings = _headroom(plan, metric)
    forgot = forgetting(plan)
    options = tuple(
        _option(plan, name, cost=money[name], metric=metric, forgot=forgot)
        for name in suite.candidates
        if name != suite.baseline
    )
    return Situation(
        baseline=suite.baseline,
        metric=str(metric),
        collections=collections,
        scores=tuple(_values(plan, suite.baseline, name, metric) for name in collections),
        options=options,
        spec=suite.decision,
        budgets=suite.budgets,
        seed=suite.seed,
        baseline_cost=money[suite.baseline],
        baseline_over_budget=tuple(over_budget(money[suite.baseline], suite.budgets)),
        baseline_unmeasured=_unmeasured(plan, suite.baseline, money[suite.baseline]),
        with_vectors=frozenset(name for name, spec in suite.candidates.items() if spec.has_vectors),
        health=_health(plan),
        gap=gap,
        gaps={option.name: _gap(plan, option.name, metric, depth=gap.depth) for option in options},
        ceilings=ceilings,
        published=() if found is None else sentences(found),
        untested=() if found is None else tuple(each.model for each in found.to_add),
        clusters=tuple(texts.clusters for _, texts in _targets(plan)),
        forgetting=forgot,
        curves=tuple(learning_curves(plan)),
        failures=gather_failures(plan),
        queues=tuple(queues[name] for name in collections) if queues else (),
    )


def _option(
    plan: Plan, name: str, *, cost: OptionCost, metric: Metric, forgot: tuple[Forgetting, ...]
) -> Option:
    suite, compressed = plan.suite, compressions(plan.suite.candidates, name)
    by_seed = tuple(
        _card(plan, name, place).of_each_seed(str(metric))
        - _card(plan, suite.baseline, place).of_each_seed(str(metric))
        for place in suite.collections_of("target")
    )
    in_use = set(trained_parts(suite, suite.baseline))
    trained = tuple(
        part for part in dict.fromkeys(trained_parts(suite, name)) if part not in in_use
    )
    told = {
        outcome: tuple(
            in_words(each)
            for each in forgot
            if each.candidate in trained and each.outcome == outcome
        )
        for outcome in ("forgets", "open")
    }
    return Option(
        name=name,
        action=action_of(suite, plan, name),
        differences=tuple(values.mean(axis=1) for values in by_seed),
        cost=cost,
        shortens=unshortened(suite, name),
        width=_width(plan, name) if compressed else None,
        left=", ".join({each.word: each.left for each in compressed}.values()),
        series=" ".join(filter(None, (each.series for each in compressed))),
        over_budget=tuple(over_budget(cost, suite.budgets)),
        leaked=tuple(leaks(plan, name)),
        trained=trained,
        forgotten=told["forgets"],
        cautions=told["open"],
        unmeasured=_unmeasured(plan, name, cost),
        holes=_holes(plan, name, metric, by_seed),
        by_seed=by_seed if by_seed[0].shape[1] > 1 else (),
    )


def _width(plan: Plan, name: str) -> int | None:
    dense = plan.planner.dense(name)
    return dense.width or dense.dimension


def _unmeasured(plan: Plan, name: str, cost: OptionCost) -> tuple[str, ...]:
    is_trained = any(True for _ in trained_parts(plan.suite, name))
    return tuple(unmeasured_costs(cost, plan.suite.budgets, is_trained=is_trained))


def _holes(
    plan: Plan, name: str, metric: Metric, by_seed: tuple[np.ndarray, ...]
) -> tuple[Holes, ...]:
    """Return what unjudged documents may hide about a candidate, for each collection."""
    baseline = plan.suite.baseline
    difference = np.mean([values.mean() for values in by_seed])
    return tuple(
        find_holes(
            {each: _run(plan, each, place) for each in (baseline, name)},
            collection,
            metric,
            baseline=baseline,
            ahead=name if difference > 0 else baseline,
        )
        for place, collection in _targets(plan)
    )


def _run(plan: Plan, name: str, collection: str) -> Run:
    return plan.scored[name, collection].run_stage.result(plan.store)


def _card(plan: Plan, name: str, collection: str) -> Scorecard:
    return plan.scored[name, collection].result(plan.store)


def _values(plan: Plan, name: str, collection: str, metric: Metric) -> np.ndarray:
    return np.array(_card(plan, name, collection).values[str(metric)])


def _health(plan: Plan) -> Health:
    suite = plan.suite
    targets = suite.collections_of("target")
    cards = [plan.scored[suite.baseline, name].result(plan.store) for name in targets]
    prompts = [
        text
        for text in plan.planner.warnings
        if "were trained with prompts" in text and f"'{suite.baseline}'" in text
    ]
    return Health(
        contradiction=_contradiction(plan),
        missing=float(np.mean(np.concatenate([card.missing for card in cards]))),
        pipeline=tuple(prompts),
        notes=tuple(
            problem.message for found in plan.planner.inputs.problems.values() for problem in found
        ),
    )


def _contradiction(plan: Plan) -> Contradiction | None:
    """Return the contradictions of all collections together, between words and vectors."""
    found = []
    lexical, dense = _roots(plan, "words"), _roots(plan, "vectors")
    for name, collection in _targets(plan):
        runs = [[_run(plan, root, name) for root in roots] for roots in (lexical, dense)]
        counts = contradiction(
            runs[0], runs[1], collection.judgements, n_documents=len(collection.documents)
        )
        if counts is not None:
            found.append(counts)
    if not found:
        return None
    return Contradiction(
        sum(counts.agreed for counts in found), sum(counts.contradicted for counts in found)
    )


def _targets(plan: Plan) -> list[tuple[str, Collection]]:
    """Return the collections that the suite decides on."""
    return [(name, plan.collections[name]) for name in plan.suite.collections_of("target")]


def _roots(plan: Plan, finds_by: Literal["words", "vectors"]) -> list[str]:
    return [name for name, spec in plan.suite.candidates.items() if spec.finds_by == finds_by]


def _headroom(plan: Plan, metric: Metric) -> tuple[Gap, tuple[tuple[int, float], ...]]:
    """Return the baseline's gap at the depth of a usual reranker, and the ceilings by depth."""
    ceilings: dict[int, float] = {}
    gap: Gap | None = None
    depths = [depth for depth in _DEPTHS if depth <= plan.depth]
    for depth in depths:
        gap = _gap(plan, plan.suite.baseline, metric, depth=depth)
        ceilings[depth] = gap.achieved + gap.ordering_loss
        if depth >= 100:
            break
    if gap is None:
        raise LookupError("a plan is at least 100 ranks deep")
    return gap, tuple(ceilings.items())


def _gap(plan: Plan, candidate: str, metric: Metric, *, depth: int) -> Gap:
    """Return how a candidate's distance from 1 is split at a depth."""
    achieved = [_values(plan, candidate, name, metric) for name, _ in _targets(plan)]
    ceiling = [
        oracle(
            _run(plan, candidate, name),
            collection.judgements,
            metric,
            depth=depth,
            n_queries=len(collection.queries),
        )
        for name, collection in _targets(plan)
    ]
    return split_gap(np.concatenate(achieved), np.concatenate(ceiling), depth=depth)


def _published(plan: Plan) -> BetterModels | None:
    """Return what an MTEB results folder says about models that are not in the suite."""
    spec = plan.suite.decision.published
    if spec is None:
        return None
    tested = [item.reference for item in plan.suite.candidates.values() if item.reference]
    return better_models(read_published(plan.suite.locate(spec.results)), spec, tested=tested)
