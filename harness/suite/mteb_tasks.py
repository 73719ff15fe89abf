"""Tasks of mteb in a suite: the metric that mteb scores each by, and their instructions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.collection.raw import MtebTask, RawCollection
from harness.errors import ExitCode, HarnessError
from harness.runs.metrics import Metric, parse_metric
from harness.suite.spec import Suite

Tasks = Mapping[str, MtebTask]  # by collection


def tasks_of(raw: Mapping[str, RawCollection]) -> Tasks:
    """Return the tasks among what sources hold."""
    return {name: each.task for name, each in raw.items() if each.task is not None}


def main_metric(task: MtebTask) -> Metric:
    """Return what mteb scores a task by.

    Raises:
        HarnessError: exit code 2, it is no mean over queries that is computed here.
    """
    if task.main_score == "accuracy":  # mteb's word for it where one document is right
        return Metric("recall", 1)
    try:
        return parse_metric(task.main_score)
    except HarnessError:
        raise HarnessError(
            f"mteb:{task.name}: mteb scores it by '{task.main_score}', which is not computed here. "
            "Score it by mteb.evaluate, or name another task.",
            exit_code=ExitCode.USAGE,
        ) from None


def main_metrics(tasks: Tasks) -> tuple[Metric, ...]:
    """Return what mteb scores tasks by, each metric once."""
    return tuple(dict.fromkeys(main_metric(task) for task in tasks.values()))


def not_asked_for(suite: Suite, tasks: Tasks) -> Iterator[str]:
    """Yield where mteb scores a task by a metric that the suite does not ask for."""
    for name, task in tasks.items():
        metric = main_metric(task)
        if metric not in suite.parsed_metrics():
            yield (
                f"collection '{name}': mteb's main score of {task.name} is {metric}, which is not "
                f"among the metrics. Add '{metric}' to compare by it."
            )


def instructed(suite: Suite, tasks: Tasks) -> Suite:
    """Return a suite with the instructions of mteb's tasks where its collections give none."""
    filled = {
        name: suite.collections[name].model_copy(update={"instruction": task.instruction})
        for name, task in tasks.items()
        if suite.collections[name].instruction is None and task.instruction
    }
    return suite.model_copy(update={"collections": {**suite.collections, **filled}})
