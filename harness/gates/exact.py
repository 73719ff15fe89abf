"""Exact: gates that rest on no sample of queries, `at_most` on a cost and `must_pass` on a list.

Only a timing can be inconclusive: it counts on its own device, and few queries are timed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.arrays import Values
from harness.collection import NO_GRADE
from harness.environment import device_name
from harness.errors import counted, first_of
from harness.gates.report import GateResult, State, gate_result
from harness.gates.targets import Target
from harness.judging.rounds import Round
from harness.plan.plan import Plan
from harness.results.values import Cost, Costs
from harness.retrieval.latency import total_milliseconds
from harness.suite.spec import Suite, lineage

_SHOWN = 5  # ids of a list


class CostAnswer(NamedTuple):
    """The answer, and what only people read because no two runs measure the same."""

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
        case asked:
            what, value, limit = asked.replace("_", " "), getattr(cost, asked), target.limit
            judged = CostAnswer(
                State.FAIL, f"{what.capitalize()}: not measured, which never passes."
            )
            if value is not None and np.isfinite(value):
                passes = value <= limit
                text = (
                    f"{value:,.10g} {what}, {'at most' if passes else 'more than'} {limit:,.10g}."
                )
                judged = CostAnswer(State.PASS if passes else State.FAIL, text, value=value)
    return gate_result(target, **judged._asdict())


def _latency(plan: Plan, target: Target, cost: Cost) -> CostAnswer:
    here = device_name(plan.device)
    times = total_milliseconds(plan.steps[target.candidate, target.collection], plan.store)
    if times is None:
        text = "Not timed: another system answers the queries."
        return CostAnswer(State.INCONCLUSIVE, text)
    if cost.timing_problem is not None:
        text = "Timed on a busy machine, so not comparable with a quiet one."
        return CostAnswer(State.INCONCLUSIVE, text, cost.timing_problem)
    if cost.device != here:
        text = "Timed on another device, so not comparable with this one."
        return CostAnswer(State.INCONCLUSIVE, text, f"There {cost.device}, here {here}.")
    return judge_times(np.array(times), target.limit)


def judge_times(times: Values, limit: float) -> CostAnswer:
    """Return whether the 95th percentile of a query's milliseconds is within a limit.

    It passes where the percentile seen is within the limit and fails where the exact lower bound
    of the true one (95%, by order statistics, whatever the distribution) is beyond it. An upper
    bound would take 59 timed queries, and fewer are timed.

    >>> judge_times(np.full(40, 5.0), 10).state, judge_times(np.full(40, 15.0), 10).state
    (<State.PASS: 'pass'>, <State.FAIL: 'fail'>)
    >>> judge_times(np.r_[np.full(36, 5.0), np.full(4, 15.0)], 10).state  # four slow queries of 40
    <State.INCONCLUSIVE: 'inconclusive'>
    """
    from scipy.stats import quantile_test

    n, seen = len(times), float(np.percentile(times, 95))
    low = quantile_test(times, p=0.95, alternative="greater").confidence_interval(0.95).low
    at_least = float(np.fmax(low, times.min()))  # one query alone has no bound
    measured = f"p95 {seen:.3g} ms, at least {at_least:.3g} ms, n={n}."
    if seen <= limit:
        return CostAnswer(State.PASS, f"The p95 is within {limit:g} ms.", measured, n=n)
    if at_least > limit:
        return CostAnswer(State.FAIL, f"The p95 is above {limit:g} ms.", measured, n=n)
    text = f"The measured p95 is above {limit:g} ms, but too few queries were timed to show it."
    return CostAnswer(State.INCONCLUSIVE, text, measured, n=n)


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
        return CostAnswer(State.FAIL, "No training time is stored, which never passes.")
    minutes = sum(known) / 60
    passes = minutes <= limit
    text = f"Training takes {'at most' if passes else 'more than'} {limit:g} minutes."
    return CostAnswer(State.PASS if passes else State.FAIL, text, f"{minutes:.2f} minutes.")


def judge_list(plan: Plan, target: Target, opened: Round | None = None) -> GateResult:
    """Return whether every query of a list finds a relevant document within the first k.

    A query that the collection does not have, or does not judge, is a failure. Where nothing is
    judged but by grades, one of whose first documents some have no grade is inconclusive.

    Args:
        plan: finished.
        target: of its suite.
        opened: the grades of the collection; None where nobody grades.
    """
    texts, k = plan.collections[target.collection], int(target.limit)
    run = plan.scored[target.candidate, target.collection].run_stage.result(plan.store)
    judgements = texts.judgements if opened is None else opened.by_people
    first = run.documents[target.rows, :k]
    grades = judgements.grades_of(first, queries=target.rows)
    lost = ~(grades >= 1).any(axis=1)
    is_open = np.zeros_like(lost)
    if not len(texts.judgements.grades):
        is_open = lost & ((grades == NO_GRADE) & (first >= 0)).any(axis=1)
    missed = [texts.query_ids[row] for row in target.rows[lost & ~is_open].tolist()]
    n = len(target.rows) + len(target.unknown)
    queries, problems = counted(n, "query"), []
    if is_open.any() and not missed and not target.unknown:
        text = (
            f"Too thin: of {queries}, {is_open.sum()} have documents without a grade in the top "
            f"{k}, and none that is relevant. Grade more pairs: harness judge."
        )
        return gate_result(target, State.INCONCLUSIVE, text, n=n)
    if missed:
        problems.append(
            f"{len(missed)} of {queries} {'finds' if n == 1 else 'find'} nothing relevant in the "
            f"top {k}: {first_of(missed, most=_SHOWN)}."
        )
    if target.unknown:
        where = target.collection
        problems.append(
            f"Of {queries}, '{where}' does not judge {first_of(target.unknown, most=_SHOWN)}."
        )
    found = "The one query finds" if n == 1 else f"All {queries} find"
    text = " ".join(problems) or f"{found} a relevant document in the top {k}."
    return gate_result(target, State.FAIL if problems else State.PASS, text, n=n)
