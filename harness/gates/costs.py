"""Costs: `at_most` gates. A timing counts on its own device only; everything else is exact."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.arrays import Values
from harness.environment import device_name
from harness.gates.report import GateResult, State, gate_result
from harness.gates.targets import Target
from harness.plan.plan import Plan
from harness.results.values import Cost, Costs
from harness.retrieval.latency import total_milliseconds
from harness.suite.spec import Suite, lineage


class CostAnswer(NamedTuple):
    """The answer, and what only people are told because no two runs measure the same."""

    state: State
    reason: str
    measured: str = ""
    value: float | None = None
    n: int = 0


def judge_cost(plan: Plan, target: Target, costs: Costs) -> GateResult:
    """Return whether a cost is within its limit."""
    cost = next(
        each
        for each in costs.costs
        if (each.candidate, each.collection) == (target.candidate, target.collection)
    )
    match target.asked:
        case "query_ms_p95":
            judged = _latency(plan, target, cost)
        case "training_minutes":
            judged = judge_training(plan.suite, target.candidate, costs, limit=target.limit)
        case _:
            judged = _exact(target, getattr(cost, target.asked))
    return gate_result(
        target,
        judged.state,
        judged.reason,
        n=judged.n,
        value=judged.value,
        measured=judged.measured,
    )


def judge_times(times: Values, limit: float) -> CostAnswer:
    """Return whether the 95th percentile of a query's milliseconds is within a limit.

    It passes where the percentile seen is within the limit and fails where the exact lower bound
    of the true one (95 %, by order statistics, whatever the distribution) is beyond it. An upper
    bound would take 59 timed queries, and fewer are timed.

    >>> judge_times(np.full(40, 5.0), 10).state, judge_times(np.full(40, 15.0), 10).state
    (<State.PASS: 'pass'>, <State.FAIL: 'fail'>)
    >>> judge_times(np.r_[np.full(36, 5.0), np.full(4, 15.0)], 10).state  # four slow queries of 40
    <State.INCONCLUSIVE: 'inconclusive'>
    """
    n, seen = len(times), float(np.percentile(times, 95))
    at_least = float(np.sort(times)[_lower_rank(n) - 1])
    measured = f"p95 {seen:.3g} ms, at least {at_least:.3g} ms, n={n}."
    if seen <= limit:
        return CostAnswer(State.PASS, f"The p95 is within {limit:g} ms.", measured, n=n)
    if at_least > limit:
        return CostAnswer(State.FAIL, f"The p95 is above {limit:g} ms.", measured, n=n)
    text = f"The p95 seen is above {limit:g} ms, but so few timed queries can not show it."
    return CostAnswer(State.INCONCLUSIVE, text, measured, n=n)


def _lower_rank(n: int) -> int:
    """Return the rank of the order statistic that is at most the true p95 with 95 % confidence."""
    from scipy.special import bdtr

    ranks = np.arange(1, n + 1)
    covered = 1 - bdtr(ranks - 1, n, 0.95) >= 0.95
    return int(ranks[covered].max(initial=1))


def _latency(plan: Plan, target: Target, cost: Cost) -> CostAnswer:
    here = device_name(plan.device)
    times = total_milliseconds(plan.steps[target.candidate, target.collection], plan.store)
    if times is None:
        text = "Not timed: another system answers the queries."
        return CostAnswer(State.INCONCLUSIVE, text)
    if cost.timing_problem is not None:
        text = "Timed on a busy machine, which tells nothing about a quiet one."
        return CostAnswer(State.INCONCLUSIVE, text, cost.timing_problem)
    if cost.device != here:
        text = "Timed on another device, which tells nothing about this one."
        return CostAnswer(State.INCONCLUSIVE, text, f"There {cost.device}, here {here}.")
    return judge_times(np.array(times), target.limit)


def judge_training(suite: Suite, candidate: str, costs: Costs, *, limit: float) -> CostAnswer:
    """Return whether the trainings of a candidate and of everything that it needs are within."""
    trained = [
        name for name in lineage(suite, candidate) if suite.candidates[name].recipe is not None
    ]
    if not trained:
        return CostAnswer(State.PASS, "Nothing was trained.", value=0.0)
    seconds: dict[str, float | None] = {
        cost.candidate: cost.training_seconds for cost in costs.costs if cost.candidate in trained
    }
    known = [value for value in seconds.values() if value is not None]
    if len(known) < len(trained):
        return CostAnswer(State.FAIL, "No training time is stored, which is never a pass.")
    minutes = sum(known) / 60
    passes = minutes <= limit
    word = "at most" if passes else "more than"
    text = f"Training takes {word} {limit:g} minutes."
    return CostAnswer(State.PASS if passes else State.FAIL, text, f"{minutes:.2f} minutes.")


def _exact(target: Target, value: float | None) -> CostAnswer:
    words = target.asked.replace("_", " ")
    if value is None or not np.isfinite(value):
        return CostAnswer(State.FAIL, f"No {words} is known, which is never a pass.")
    if value <= target.limit:
        return CostAnswer(
            State.PASS, f"{value:,.10g} {words}, at most {target.limit:,.10g}.", value=value
        )
    text = f"{value:,.10g} {words}, more than {target.limit:,.10g}."
    return CostAnswer(State.FAIL, text, value=value)
