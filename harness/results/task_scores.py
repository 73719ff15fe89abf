"""Task scores: what mteb's own evaluators give the candidates, one number each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from harness.value import Value

if TYPE_CHECKING:
    from harness.plan.plan import Plan


class TaskScore(Value):
    """The main score of a candidate in a task of mteb that is no search.

    Attributes:
        task: the suite's name of it.
        kind: mteb's type, such as "STS".
        metric: mteb's main score, such as "cosine_spearman".
        score: as mteb gives it; no interval belongs to it.
    """

    candidate: str
    task: str
    source: str
    kind: str
    metric: str
    score: float


def task_scores(plan: Plan) -> Iterator[TaskScore]:
    """Yield the scores that are there: what failed is told elsewhere."""
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
