"""Options: what taking a candidate means, what it costs, and what bars it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.decision.situation import Action, OptionCost
from harness.plan.plan import Plan
from harness.results.values import Cost, Costs
from harness.suite.kinds.kind import compressions, uncompressed
from harness.suite.spec import Budgets, Prices, Suite, lineage

_MILLISECONDS_PER_HOUR = 3_600_000
_UNITS = {
    "query_ms_p95": "ms a query at p95",
    "bytes_per_document": "bytes a document",
    "parameters": "parameters",
    "training_minutes": "minutes of training",
    "money_per_month": "a month in the currency of the prices",
}
_COSTLY_CHANGES = (Action.FINE_TUNE, Action.RERANK, Action.FUSE)


def action_of(suite: Suite, plan: Plan, name: str) -> Action:
    """Return what taking a candidate means, seen from the baseline.

    Of several changes on the way from a common ancestor, the most expensive one names the action.
    A candidate of other weights is a switch; one of the same weights, run otherwise, a fix.
    """
    new = lineage(suite, name) - lineage(suite, suite.baseline)
    changes = {suite.candidates[step].action for step in new}
    for action in _COSTLY_CHANGES:
        if action in changes:
            return action
    root, present = (_path(suite, each)[-1] for each in (name, suite.baseline))
    if root != present:
        return Action.FIX_PIPELINE if _same_weights(plan, root, present) else Action.SWITCH
    return Action(suite.candidates[name].action) if unshortened(suite, name) else Action.SWITCH


def over_budget(cost: OptionCost, budgets: Budgets) -> Iterator[str]:
    """Yield a sentence for each budget that a cost exceeds."""
    for field, unit in _UNITS.items():
        limit, value = getattr(budgets, field), getattr(cost, field)
        if limit is not None and value is not None and value > limit:
            yield f"{_number(value)} {unit} exceed the budget of {_number(limit)}."


def unmeasured_costs(cost: OptionCost, budgets: Budgets, *, is_trained: bool) -> Iterator[str]:
    """Yield a sentence for each budget on something that was not measured.

    What was not trained takes no minutes of training.
    """
    for field, unit in _UNITS.items():
        limit = getattr(budgets, field)
        if field == "training_minutes" and not is_trained:
            continue
        if limit is not None and getattr(cost, field) is None:
            yield f"{field} is not measured, and the budget is {_number(limit)} {unit}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _path(suite: Suite, name: str) -> list[str]:
    """Return a candidate and its ancestors along the first parents, itself first."""
    path = [name]
    while parents := suite.candidates[path[-1]].parents:
        path.append(parents[0])
    return path


def _same_weights(plan: Plan, one: str, other: str) -> bool:
    if not all(plan.suite.candidates[name].reference for name in (one, other)):
        return False
    models = [plan.planner.dense(name).model for name in (one, other)]
    weights = [model.weights(plan.store) if model else None for model in models]
    return None not in weights and weights[0] == weights[1]


def unshortened(suite: Suite, name: str) -> str | None:
    """Return the candidate whose vectors a chain of compressions shortens or makes coarser: its
    full vectors, or the baseline if that is a milder compression of the same.
    """
    mine, present = (_sizes(suite, each) for each in (name, suite.baseline))
    if not mine:
        return None
    full = uncompressed(suite.candidates, name)
    if not present or full != uncompressed(suite.candidates, suite.baseline):
        return full
    smaller = all(mine.get(word, np.inf) <= size for word, size in present.items())
    return suite.baseline if smaller and mine != present else None


def _sizes(suite: Suite, name: str) -> dict[str, float]:
    """Return what each kind of compression leaves of a candidate's vectors, by its word."""
    return {spec.word: spec.size for spec in compressions(suite.candidates, name)}


def cost_of(plan: Plan, costs: Costs, name: str) -> OptionCost:
    """Return the cost of a candidate, the largest over the collections."""
    targets = plan.suite.collections_of("target")
    found = [cost for cost in costs.costs if cost.candidate == name and cost.collection in targets]
    prices = plan.suite.prices
    return OptionCost(
        query_ms_p95=_largest([cost.settled_ms_p95 for cost in found]),
        bytes_per_document=_largest([cost.bytes_per_document for cost in found]),
        parameters=next((cost.parameters for cost in found), None),
        training_minutes=_training_minutes(plan.suite, costs, name),
        money_per_month=_largest([_money(cost, prices) for cost in found]) if prices else None,
        timing_problems=tuple(each.timing_problem for each in found if each.timing_problem),
    )


def _training_minutes(suite: Suite, costs: Costs, name: str) -> float | None:
    """Return the minutes of all trainings on the way to a candidate; None where there is none."""
    seconds = {
        cost.candidate: cost.training_seconds
        for cost in costs.costs
        if cost.training_seconds is not None
        and cost.candidate in lineage(suite, name)
        and suite.candidates[cost.candidate].recipe is not None
    }
    return sum(seconds.values()) / 60 if seconds else None


def _money(cost: Cost, prices: Prices) -> float | None:
    """Return the price of a month: the device while it answers, and the memory of the index."""
    if cost.settled_ms_p50 is None or cost.bytes_per_document is None:
        return None
    hours = prices.queries_per_month * cost.settled_ms_p50 / _MILLISECONDS_PER_HOUR
    gigabytes = prices.documents * cost.bytes_per_document / 1e9
    return hours * prices.device_hour + gigabytes * prices.gb_month


def _largest(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def leaks(plan: Plan, name: str) -> Iterator[str]:
    """Yield why a candidate's scores can not be trusted: it was trained on what it is tested on."""
    for step in sorted(lineage(plan.suite, name)):
        for text in plan.planner.leaked.get(step, ()):
            yield f"'{step}' was trained on what it is tested on: {text}"
