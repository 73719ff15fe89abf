"""Gather: the situation of a finished plan, from what its stages stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.collection import Collection
from harness.decision.holes import Contradiction, Holes, contradiction, find_holes
from harness.decision.migration import migration
from harness.decision.situation import (
    Action,
    Failures,
    GradesUsed,
    Health,
    Option,
    OptionCost,
    Recoverable,
    Situation,
)
from harness.decision.wording import milliseconds
from harness.diagnosis.diagnose import find_diagnosis, read_diagnosis
from harness.diagnosis.values import CandidateDiagnosis
from harness.errors import ExitCode, HarnessError
from harness.judging.judged import Estimates, estimates
from harness.judging.rounds import Round
from harness.plan.plan import Plan
from harness.published.better import better_models, sentences
from harness.published.reading import read_published
from harness.results.chunk_sizes import chunk_sizes
from harness.results.learning_curve import learning_curves
from harness.results.training import Forgetting, forgetting, forgetting_in_words, trained_parts
from harness.results.values import Cost, Costs
from harness.runs.headroom import Gap, oracle, split_gap
from harness.runs.metrics import Metric, Scorecard
from harness.runs.run import Run
from harness.suite.gates import AtMost
from harness.suite.kinds.kind import compressions, uncompressed
from harness.suite.spec import Prices, Suite, lineage

_ONE_TRAINING = (
    "The grades are of the ranking of one training; how much others differ is not known."
)
_DEPTH = 100  # of a usual reranker; a plan is at least as deep


def gather_situation(
    plan: Plan,
    costs: Costs,
    *,
    queues: Mapping[str, str] | None = None,
    rounds: Mapping[str, Round] | None = None,
) -> Situation:
    """Read everything that the decision looks at.

    Args:
        plan: finished.
        costs: gathered from it.
        queues: by collection, the file for the documents that are to be judged.
        rounds: by collection, the grades of a part of its pairs; their estimates take the place of
            differences where people graded enough, or where nothing else is judged.

    Raises:
        HarnessError: the folder of published results cannot be read; exit code 3, nothing is judged
            in a collection, and too little graded.
    """
    suite = plan.suite
    metric = suite.deciding_metric
    collections = tuple(suite.collections_of("target"))
    money = {name: cost_of(plan, costs, name) for name in suite.candidates}
    found = None
    if (spec := suite.decision.published) is not None:
        tested = [item.reference for item in suite.candidates.values() if item.reference]
        found = better_models(read_published(suite.locate(spec.results)), spec, tested=tested)
    forgot = forgetting(plan)
    said = {name: estimates(opened) for name, opened in (rounds or {}).items()}
    graded = {name: each for name, each in said.items() if each is not None}
    open_ones = [
        name
        for name, texts in _targets(plan)
        if not len(texts.judgements.grades) and name not in graded
    ]
    if open_ones:
        raise HarnessError(
            [
                f"collection '{name}': nothing is judged, and too few pairs are graded to say "
                "anything. Grade more: harness judge."
                for name in open_ones
            ],
            exit_code=ExitCode.DATA,
        )
    options = tuple(
        _option(plan, name, cost=money[name], metric=metric, forgot=forgot, graded=graded)
        for name in suite.candidates
        if name != suite.baseline
    )
    return Situation(
        baseline=suite.baseline,
        metric=str(metric),
        collections=collections,
        scores=tuple(
            values[graded[name].rows] if name in graded else values
            for name in collections
            for values in (_values(plan, suite.baseline, name, metric),)
        ),
        options=options,
        spec=suite.decision,
        budgets=suite.budgets,
        seed=suite.seed,
        sampled=suite.limit is not None,
        baseline_cost=money[suite.baseline],
        baseline_over_budget=tuple(over_budget(suite, money[suite.baseline])),
        baseline_unmeasured=tuple(unmeasured_costs(suite, suite.baseline, money[suite.baseline])),
        with_vectors=frozenset(name for name, spec in suite.candidates.items() if spec.has_vectors),
        with_weights=frozenset(name for name, spec in suite.candidates.items() if spec.has_weights),
        tried={name: _tried(suite, name) for name in suite.candidates},
        health=_health(plan, graded),
        gap=None if graded else _gap(plan, suite.baseline, metric),
        gaps={} if graded else {each.name: _gap(plan, each.name, metric) for each in options},
        published=() if found is None else sentences(found),
        untested=() if found is None else tuple(each.model for each in found.to_add),
        clusters=tuple(
            texts.clusters[graded[name].rows]
            if name in graded and texts.clusters is not None
            else texts.clusters
            for name, texts in _targets(plan)
        ),
        grades=tuple(
            GradesUsed(each.source, each.by_people, each.alone, each.whole)
            if (each := graded.get(name)) is not None
            else None
            for name in collections
        )
        if graded
        else (),
        forgetting=forgot,
        curves=tuple(learning_curves(plan)),
        failures=gather_failures(plan),
        chunk_sizes=tuple(chunk_sizes(plan)),
        queues=tuple(queues[name] for name in collections) if queues else (),
    )


def _option(
    plan: Plan,
    name: str,
    *,
    cost: OptionCost,
    metric: Metric,
    forgot: tuple[Forgetting, ...],
    graded: Mapping[str, Estimates],
) -> Option:
    suite, compressed = plan.suite, compressions(plan.suite.candidates, name)
    seeds = tuple(
        _card(plan, name, place).of_each_seed(str(metric))
        - _card(plan, suite.baseline, place).of_each_seed(str(metric))
        for place in suite.collections_of("target")
    )
    by_seed = tuple(
        np.repeat(graded[place].differences[name][:, None], values.shape[1], axis=1)
        if place in graded
        else values
        for place, values in zip(suite.collections_of("target"), seeds, strict=True)
    )
    one_of_many = graded and by_seed[0].shape[1] > 1
    dense = plan.planner.dense(name) if compressed else None
    in_use = set(trained_parts(suite, suite.baseline))
    parts = dict.fromkeys(trained_parts(suite, name))
    trained = tuple(part for part in parts if part not in in_use)
    told = {
        outcome: tuple(
            forgetting_in_words(each)
            for each in forgot
            if each.candidate in trained and each.outcome == outcome
        )
        for outcome in ("forgets", "open")
    }
    return Option(
        name=name,
        action=(action := action_of(suite, plan, name)),
        step=_last_step(suite, name) if action in _COSTLY else None,
        differences=tuple(values.mean(axis=1) for values in by_seed),
        cost=cost,
        shortens=unshortened(suite, name),
        width=(dense.width or dense.dimension) if dense else None,
        left=", ".join({each.word: each.left for each in compressed}.values()),
        indexed=bool(compressed) and compressed[-1].is_last,
        series=" ".join(filter(None, (each.series for each in compressed))),
        over_budget=tuple(over_budget(suite, cost)),
        exceeded=tuple(
            f"{what.removesuffix(' latency')} {now}, budget {most}"
            for what, now, most in _exceeding(suite, cost)
        ),
        leaked=tuple(leaks(plan, name)),
        trained=trained,
        forgotten=told["forgets"],
        cautions=told["open"] + ((_ONE_TRAINING,) if one_of_many else ()),
        unmeasured=tuple(unmeasured_costs(suite, name, cost)),
        failed_gates=tuple(_failed_gates(suite, name, cost)),
        holes=() if graded else _holes(plan, name, metric, by_seed),
        by_seed=by_seed if by_seed[0].shape[1] > 1 else (),
        migration=migration(plan, name),
    )


def _tried(suite: Suite, name: str) -> frozenset[str]:
    """Return the kinds of change that a candidate has, or that were tested on it."""

    def line(end: str) -> set[str]:
        return {end}.union(*map(line, suite.candidates[end].parents))

    derived = {each for each in suite.candidates if name in line(each)}
    return frozenset(suite.candidates[each].action for each in derived | line(name))


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


def _health(plan: Plan, graded: Mapping[str, Estimates]) -> Health:
    baseline, candidates = plan.suite.baseline, plan.suite.candidates
    words = [name for name, spec in candidates.items() if spec.finds_by == "words"]
    vectors = [name for name, spec in candidates.items() if spec.finds_by == "vectors"]
    found = []
    for place, texts in _targets(plan):
        if place in graded:  # most of its pairs are not judged
            continue
        lexical, dense = ([_run(plan, name, place) for name in names] for names in (words, vectors))
        counts = contradiction(lexical, dense, texts.judgements, n_documents=len(texts.documents))
        found += [counts] if counts is not None else []
    agreed, contradicted = (sum(counts) for counts in zip(*found, strict=True)) if found else (0, 0)
    missing = [_card(plan, baseline, place).missing for place, _ in _targets(plan)]
    return Health(
        contradiction=Contradiction(agreed, contradicted) if found else None,
        missing=float(np.mean(np.concatenate(missing))),
        pipeline=tuple(
            text
            for text in plan.planner.warnings
            if "were trained with prompts" in text and f"'{baseline}'" in text
        ),
        notes=tuple(
            problem.message for found in plan.planner.inputs.problems.values() for problem in found
        ),
    )


def _targets(plan: Plan) -> list[tuple[str, Collection]]:
    """Return the collections that the suite decides on."""
    return [(name, plan.collections[name]) for name in plan.suite.collections_of("target")]


def _gap(plan: Plan, candidate: str, metric: Metric) -> Gap:
    """Return how a candidate's distance from 1 is split at the depth of a usual reranker."""
    achieved = [_values(plan, candidate, name, metric) for name, _ in _targets(plan)]
    ceiling = [
        oracle(
            _run(plan, candidate, name),
            collection.judgements,
            metric,
            depth=_DEPTH,
            n_queries=len(collection.queries),
        )
        for name, collection in _targets(plan)
    ]
    return split_gap(np.concatenate(achieved), np.concatenate(ceiling), depth=_DEPTH)


_MILLISECONDS_PER_HOUR = 3_600_000
_LIMITED = {  # what a budget limits, and in which unit; "" is the currency of the prices
    "query_ms_p95": ("p95 latency", "ms"),
    "bytes_per_document": ("index size", "bytes per document"),
    "parameters": ("model size", "parameters"),
    "training_minutes": ("training time", "minutes"),
    "money_per_month": ("monthly cost", ""),
}


_COSTLY = (Action.FINE_TUNE, Action.RERANK, Action.FUSE)


def _last_step(suite: Suite, name: str) -> Action | None:
    """Return the last change to a candidate, where that names it: a fusion, reranking, training."""
    last = suite.candidates[name].action
    return Action(last) if last in _COSTLY else None


def action_of(suite: Suite, plan: Plan, name: str) -> Action:
    """Return the action that choosing a candidate means, relative to the baseline.

    Of several changes since a common ancestor, the most expensive one names the action. Other
    weights are a switch; the same weights, run differently, a fix.
    """
    new = lineage(suite, name) - lineage(suite, suite.baseline)
    changes = {suite.candidates[step].action for step in new}
    for action in _COSTLY:
        if action in changes:
            return action
    roots = []  # the ends of both ways along the first parents
    for end in (name, suite.baseline):
        while parents := suite.candidates[end].parents:
            end = parents[0]  # noqa: PLW2901 - the next step
        roots.append(end)
    if roots[0] == roots[1]:
        shortens = unshortened(suite, name) is not None
        return Action(suite.candidates[name].action) if shortens else Action.SWITCH
    if not all(suite.candidates[root].reference for root in roots):
        return Action.SWITCH
    found = [plan.planner.models[root] for root in roots]
    if any(each.is_asymmetric for each in found):
        return Action.SWITCH
    models = [each.model for each in found]
    weights = [model.weights(plan.store) if model else None for model in models]
    same = weights[0] is not None and weights[0] == weights[1]
    return Action.FIX_PIPELINE if same else Action.SWITCH


def over_budget(suite: Suite, cost: OptionCost) -> Iterator[str]:
    """Yield a sentence for each budget that a cost exceeds."""
    for what, now, most in _exceeding(suite, cost):
        yield f"The {what} of {now} exceeds the budget of {most}."


def _exceeding(suite: Suite, cost: OptionCost) -> Iterator[tuple[str, str, str]]:
    """Yield each cost that exceeds its budget: what it is, and both amounts."""
    for field, (what, unit) in _LIMITED.items():
        limit, value = getattr(suite.budgets, field), getattr(cost, field)
        if limit is not None and value is not None and value > limit:
            yield what, *_amounts(suite, value, limit, unit)


def unmeasured_costs(suite: Suite, name: str, cost: OptionCost) -> Iterator[str]:
    """Yield a sentence for each budget on something that was not measured.

    What was not trained takes no minutes of training.
    """
    for field, (what, unit) in _LIMITED.items():
        limit = getattr(suite.budgets, field)
        if field == "training_minutes" and not any(trained_parts(suite, name)):
            continue
        if limit is not None and getattr(cost, field) is None:
            is_busy = cost.busy and field in {"query_ms_p95", "money_per_month"}
            why = "was measured on a busy machine" if is_busy else "is not measured"
            yield f"The {what} {why}, and the budget is {_amount(suite, limit, unit)}."


def _failed_gates(suite: Suite, name: str, cost: OptionCost) -> Iterator[str]:
    """Yield each gate on a cost that a candidate exceeds, once it is the baseline."""
    for gate, spec in suite.gates.items():
        if not isinstance(spec, AtMost) or spec.level == "off":
            continue
        if spec.candidate not in {None, suite.baseline, name}:
            continue
        value = getattr(cost, spec.cost)
        if value is not None and value > spec.value:
            what, unit = _LIMITED[spec.cost]
            now, most = _amounts(suite, value, spec.value, unit)
            yield f"[gates.{gate}]: its {what} of {now} exceeds {most}."


def _amounts(suite: Suite, value: float, limit: float, unit: str) -> tuple[str, str]:
    """Return a measured cost and its limit; more digits than a table has where they look alike."""
    now, most = (_amount(suite, each, unit) for each in (value, limit))
    short = f"{milliseconds(value)} {unit}"
    return short if unit == "ms" and short != most else now, most


def _amount(suite: Suite, value: float, unit: str) -> str:
    unit = unit or (suite.prices.currency if suite.prices else "")
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.4g} {unit}"


def unshortened(suite: Suite, name: str) -> str | None:
    """Return the candidate whose vectors a chain of compressions shortens or makes coarser: its
    full vectors, or the baseline if that is a milder compression of the same.
    """
    mine, present = (  # what each kind of compression leaves of the vectors, by its word
        {spec.word: spec.size for spec in compressions(suite.candidates, each)}
        for each in (name, suite.baseline)
    )
    if not mine:
        return None
    full = uncompressed(suite.candidates, name)
    if not present or full != uncompressed(suite.candidates, suite.baseline):
        return full
    smaller = all(mine.get(word, np.inf) <= size for word, size in present.items())
    return suite.baseline if smaller and mine != present else None


def cost_of(plan: Plan, costs: Costs, name: str) -> OptionCost:
    """Return the cost of a candidate, the largest over the collections."""
    targets = plan.suite.collections_of("target")
    found = [cost for cost in costs.costs if cost.candidate == name and cost.collection in targets]
    prices, needed = plan.suite.prices, lineage(plan.suite, name)
    trainings = {
        cost.candidate: cost.training_seconds
        for cost in costs.costs
        if cost.training_seconds is not None
        and cost.candidate in needed
        and plan.suite.candidates[cost.candidate].recipe is not None
    }
    return OptionCost(
        query_ms_p95=_largest([cost.settled_ms_p95 for cost in found]),
        bytes_per_document=_largest([cost.bytes_per_document for cost in found]),
        parameters=next((cost.parameters for cost in found), None),
        training_minutes=sum(trainings.values()) / 60 if trainings else None,
        money_per_month=_largest([_money(cost, prices) for cost in found]) if prices else None,
        usd_per_million_queries=_largest([cost.usd_per_million_queries for cost in found]),
        usd_per_corpus=_largest([cost.usd_per_corpus for cost in found]),
        busy=any(cost.timing_problem for cost in found),
    )


def _money(cost: Cost, prices: Prices) -> float | None:
    """Return the price of a month: the device while it answers, and the memory of the index.

    For a provider's share of the latency its bill, in USD, replaces the price of the device.
    """
    if cost.settled_ms_p50 is None or cost.bytes_per_document is None:
        return None
    milliseconds, billed = cost.settled_ms_p50, 0.0
    if cost.network_ms_p50 is not None:
        if cost.usd_per_million_queries is None or prices.currency != "USD":
            return None
        billed = prices.queries_per_month * cost.usd_per_million_queries / 1e6
        milliseconds = max(milliseconds - cost.network_ms_p50, 0.0) if billed else milliseconds
    hours = prices.queries_per_month * milliseconds / _MILLISECONDS_PER_HOUR
    gigabytes = prices.documents * cost.bytes_per_document / 1e9
    return hours * prices.device_hour + gigabytes * prices.gb_month + billed


def _largest(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def leaks(plan: Plan, name: str) -> Iterator[str]:
    """Yield why a candidate's scores cannot be trusted: it was trained on test queries."""
    for step in sorted(lineage(plan.suite, name)):
        for text in plan.planner.leaked.get(step, ()):
            yield f"'{step}' was trained on test queries: {text}"


def gather_failures(plan: Plan) -> Failures:
    """Return what the diagnosis of exactly these runs and judgements says; empty if none is stored.

    A lever counts where it is confirmed on one of the collections, with the macro mean of what it
    brings or costs on all of them.

    Args:
        plan: finished.
    """
    made = find_diagnosis(plan)
    if made is None:
        return Failures()
    found = read_diagnosis(made)
    by_name = {
        name: _failures_of([one for one in found.candidates if one.candidate == name])
        for name in dict.fromkeys(one.candidate for one in found.candidates)
    }
    baseline = by_name.pop(plan.suite.baseline, Failures())
    reversals: dict[tuple[str, str], tuple[str, ...]] = {}
    for health in found.data:
        for each in health.reversible:
            pair, sentence = (each.better, each.worse), f"On {health.collection}, {each.sentence}"
            reversals[pair] = (*reversals.get(pair, ()), sentence)
    return replace(baseline, others=by_name, reversals=reversals)


def _failures_of(diagnosed: Sequence[CandidateDiagnosis]) -> Failures:
    """Return what the diagnosis of one candidate on each collection found."""
    supported: dict[str, dict[str, None]] = {}
    for finding in (finding for one in diagnosed for finding in one.findings):
        if finding.status == "supported" and finding.lever != "none":
            supported.setdefault(finding.lever, {})[finding.title] = None
    points: dict[str, float] = {}
    reasons: dict[str, dict[str, None]] = {}
    for one in diagnosed:
        for lever, measured in one.levers().items():
            points[lever] = points.get(lever, 0.0) + measured.points / len(diagnosed)
            reasons.setdefault(lever, {}).update(dict.fromkeys(measured.reasons))
    recoverable = [
        Recoverable(lever, points[lever], tuple(titles))
        for lever, titles in reasons.items()
        if titles and points[lever] > 0
    ]
    return Failures(
        n=sum(one.n for one in diagnosed),
        recoverable=tuple(sorted(recoverable, key=lambda each: (-each.points, each.lever))),
        supported={lever: tuple(titles) for lever, titles in supported.items()},
    )
