"""Lists: `must_pass` gates. They are exact, so there is no inconclusive answer."""

from __future__ import annotations

from collections.abc import Sequence

from harness.collection.problem import counted
from harness.gates.report import GateResult, State, gate_result
from harness.gates.targets import Target
from harness.plan.plan import Plan

_SHOWN = 5


def judge_list(plan: Plan, target: Target) -> GateResult:
    """Return whether every query of a list finds a relevant document within the first k.

    A query that the collection does not have, or does not judge, is a failure.
    """
    missed, k = _missed(plan, target), target.limit
    n = len(target.rows) + len(target.unknown)
    problems = []
    if missed:
        find = "finds" if n == 1 else "find"
        problems.append(
            f"{len(missed)} of {_queries(n)} {find} nothing relevant in the first {k:g}: "
            f"{_few(missed)}."
        )
    if target.unknown:
        where = target.collection
        problems.append(f"Of {_queries(n)} '{where}' does not judge {_few(target.unknown)}.")
    text = " ".join(problems) or f"{_all(n)} a relevant document in the first {k:g}."
    return gate_result(target, State.FAIL if problems else State.PASS, text, n=n)


def _missed(plan: Plan, target: Target) -> list[str]:
    texts, k = plan.collections[target.collection], int(target.limit)
    run = plan.scored[target.candidate, target.collection].run_stage.result(plan.store)
    grades = texts.judgements.grades_of(run.documents[target.rows, :k], queries=target.rows)
    return [texts.query_ids[row] for row in target.rows[~(grades >= 1).any(axis=1)].tolist()]


def _queries(n: int) -> str:
    return counted(n, "query", "queries")


def _all(n: int) -> str:
    return "The one query finds" if n == 1 else f"All {_queries(n)} find"


def _few(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more
