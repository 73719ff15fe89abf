"""Better models: who did better than ours on the same published tasks, and is worth measuring.

Published tasks are a sample of neither our queries nor each other: they choose what to measure,
they do not decide. Intervals are not corrected for the number of models that were looked at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.published.names import counted, find_model, listed, matching, nearest
from harness.published.reading import Published, Result
from harness.published.registry import ModelFacts, size
from harness.statistics import TIE, mean_interval


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to look for.

    Attributes:
        reference: hub id of the model in use, or its last part where that is unique.
        kind: of tasks, as mteb names them: "retrieval", "reranking", "clustering", "sts", ….
        tasks: names; empty takes all of the kind.
        languages: ISO 639-3 codes such as "eng"; subsets in none of them do not count. Empty
            takes all.
        max_parameters: the largest model wanted, or None.
        licences: the ones that will do, as mteb writes them (``apache-2.0``); empty takes any.
        tested: models of the suite, named like the reference; others are ignored.
        min_tasks: a model with fewer tasks in common with the reference is named, not ranked.
        keep_trained_on: also compare on tasks whose training data one of the two models has seen.
    """

    reference: str
    kind: str = "retrieval"
    tasks: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    max_parameters: int | None = None
    licences: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    min_tasks: int = 3
    keep_trained_on: bool = False

    def __post_init__(self) -> None:
        if self.min_tasks < 2:
            raise ValueError(f"min_tasks: an interval needs 2 tasks or more, got {self.min_tasks}")


@dataclass(frozen=True, kw_only=True)
class TaskDifference:
    """Both models on one task, over the splits and subsets that both have.

    Attributes:
        subsets: how many pairs of split and subset the two means are over.
        revision, reference_revision: of the two models, for this task.
        date: ISO date of the model's run, where the file says so.
        same_data: both ran on one revision of the data; None where a file does not say.
    """

    task: str
    score: float
    reference_score: float
    difference: float
    subsets: int
    revision: str
    reference_revision: str
    date: str | None
    same_data: bool | None


@dataclass(frozen=True, kw_only=True)
class PublishedComparison:
    """A published model against the reference, paired by task.

    Attributes:
        model: hub id.
        facts: what its makers state.
        tested: whether the suite has it.
        n: tasks in common.
        difference: mean over them, model minus reference.
        low, high: its 95 % t-interval over the tasks, which vary far more than queries do.
        wins, ties, losses: tasks; a difference below 0.001 is a tie.
        tasks: in order of their names.
        trained_on: tasks in common that were left out, or kept by `Search.keep_trained_on`,
            because one of the two models was trained on their data.
        training_declared: whether the model's makers say what it was trained on.
    """

    model: str
    facts: ModelFacts
    tested: bool
    n: int
    difference: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int
    tasks: tuple[TaskDifference, ...]
    trained_on: tuple[str, ...]
    training_declared: bool


@dataclass(frozen=True)
class LeftOut:
    """Models that were not compared, all for one reason."""

    reason: str
    models: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class BetterModels:
    """What a search found; `dataclasses.asdict` is its JSON form.

    Attributes:
        reference: hub id.
        kind, languages: as searched.
        reference_tasks: tasks of the search on which the reference is published.
        compared: every model that passed, the largest mean difference first; those below the
            reference too. Models are compared over their own tasks in common with the reference,
            so two of them are not compared with each other.
        left_out: the others, by reason.
        warnings: sentences.
    """

    reference: str
    kind: str
    languages: tuple[str, ...]
    reference_tasks: tuple[str, ...]
    compared: tuple[PublishedComparison, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]

    @property
    def to_add(self) -> tuple[PublishedComparison, ...]:
        """The models above the reference that the suite does not have."""
        return tuple(each for each in self.compared if each.difference > 0 and not each.tested)


def better_models(published: Published, search: Search) -> BetterModels:
    """Compare every published model with the reference on the tasks that both have.

    Raises:
        HarnessError: exit code 2, the reference has no published result, or none of the kind or
            the tasks that were asked for.
    """
    reference = find_model(search.reference, published.results)
    warnings = list(published.warnings)
    tasks = _tasks(published, search, reference, warnings)
    tested = {each for name in search.tested for each in matching(name, published.results)}
    compared = []
    left_out: dict[str, list[str]] = {}
    for model in published.results:
        if model == reference:
            continue
        rows, trained_on = _pair(published, search, (model, reference), tasks)
        facts = published.models[model].facts
        reason = _too_few(len(rows), search) or _unfit(facts, search)
        if reason:
            left_out.setdefault(reason, []).append(model)
            continue
        compared.append(_comparison(published, model, rows, trained_on, tested=model in tested))
    return BetterModels(
        reference=reference,
        kind=search.kind,
        languages=search.languages,
        reference_tasks=tasks,
        compared=tuple(sorted(compared, key=lambda each: (-each.difference, each.model))),
        left_out=tuple(LeftOut(why, tuple(models)) for why, models in sorted(left_out.items())),
        warnings=tuple(warnings),
    )


def _tasks(
    published: Published, search: Search, reference: str, warnings: list[str]
) -> tuple[str, ...]:
    """Return the tasks of the search on which the reference is published, in order."""
    kinds = {name: task.kind for name, task in published.tasks.items() if task}
    wanted = _named(published, search, kinds) if search.tasks else _of_kind(search, kinds)
    if not search.tasks and (unknown := sorted(published.tasks.keys() - kinds)):
        warnings.append(
            f"{counted(len(unknown), 'task')} of unknown kind left out: {listed(unknown)}. "
            "Name them to compare on them."
        )
    results = published.results[reference]
    tasks = tuple(name for name in results if name in wanted and _cells(results[name], search))
    if not tasks:
        where = f" in {', '.join(search.languages)}" if search.languages else ""
        raise HarnessError(
            f"model '{reference}' has no published result on {listed(wanted)}{where}. "
            f"It has: {listed(list(results), most=20)}.",
            exit_code=ExitCode.USAGE,
        )
    if search.tasks and (missing := [name for name in wanted if name not in tasks]):
        warnings.append(f"{reference} has no published result on {listed(missing)}.")
    return tasks


def _named(published: Published, search: Search, kinds: dict[str, str]) -> list[str]:
    problems = []
    for name in search.tasks:
        if name not in published.tasks:
            near = nearest(name, published.tasks)
            hint = f"Did you mean '{near}'?" if near else "Name it as MTEB does."
            problems.append(f"task '{name}' is not in {published.folder}. {hint}")
        elif kinds.get(name, search.kind) != search.kind:
            problems.append(f"task '{name}' is of kind {kinds[name]}. Ask for tasks of one kind.")
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    return list(search.tasks)


def _of_kind(search: Search, kinds: dict[str, str]) -> list[str]:
    wanted = [name for name, kind in kinds.items() if kind == search.kind]
    if not wanted:
        raise HarnessError(
            f"kind '{search.kind}': no published task is of it."
            f"{did_you_mean(search.kind, set(kinds.values()))}",
            exit_code=ExitCode.USAGE,
        )
    return wanted


def _cells(result: Result, search: Search) -> dict[tuple[str, str], float]:
    """Return the score of each split and subset in the languages of the search."""
    wanted = set(search.languages)
    return {
        (cell.split, cell.subset): cell.score
        for cell in result.cells
        if not wanted or wanted & {code.split("-")[0] for code in cell.languages}
    }


def _pair(
    published: Published, search: Search, names: tuple[str, str], tasks: tuple[str, ...]
) -> tuple[list[TaskDifference], tuple[str, ...]]:
    """Return model and reference on every task that both have, and the tasks trained on."""
    model, reference = names
    mine, theirs = published.results[model], published.results[reference]
    both = [name for name in tasks if name in mine]
    known = [task for name in both if (task := published.tasks[name])]
    parts = {part for task in known for part in task.parts}  # else they would count twice
    seen = [published.models[name].trained_on or frozenset() for name in names]
    rows = [
        row
        for name in both
        if name not in parts and (row := _difference(mine[name], theirs[name], search))
    ]
    trained_on = tuple(row.task for row in rows if any(row.task in tasks for tasks in seen))
    if not search.keep_trained_on:
        rows = [row for row in rows if row.task not in trained_on]
    return rows, trained_on


def _difference(mine: Result, theirs: Result, search: Search) -> TaskDifference | None:
    scores, reference = _cells(mine, search), _cells(theirs, search)
    both = sorted(scores.keys() & reference.keys())
    if not both:
        return None
    score, reference_score = (
        math.fsum(each[place] for place in both) / len(both) for each in (scores, reference)
    )
    revisions = mine.data_revision, theirs.data_revision
    return TaskDifference(
        task=mine.task,
        score=score,
        reference_score=reference_score,
        difference=score - reference_score,
        subsets=len(both),
        revision=mine.revision,
        reference_revision=theirs.revision,
        date=mine.date,
        same_data=None if None in revisions else revisions[0] == revisions[1],
    )


def _comparison(
    published: Published,
    model: str,
    rows: list[TaskDifference],
    trained_on: tuple[str, ...],
    *,
    tested: bool,
) -> PublishedComparison:
    differences = np.array([row.difference for row in rows])
    mean, low, high = mean_interval(differences)
    return PublishedComparison(
        model=model,
        facts=published.models[model].facts,
        tested=tested,
        n=len(rows),
        difference=mean,
        low=low,
        high=high,
        wins=int(np.count_nonzero(differences >= TIE)),
        ties=int(np.count_nonzero(np.abs(differences) < TIE)),
        losses=int(np.count_nonzero(differences <= -TIE)),
        tasks=tuple(rows),
        trained_on=trained_on,
        training_declared=published.models[model].trained_on is not None,
    )


def _too_few(n: int, search: Search) -> str | None:
    few = f"fewer than {search.min_tasks} published {search.kind} tasks in common"
    return few if n < search.min_tasks else None


def _unfit(facts: ModelFacts, search: Search) -> str | None:
    """Return why a model does not pass the filters; an unknown fact does not pass."""
    if search.max_parameters is not None:
        if facts.parameters is None:
            return "number of parameters unknown"
        if facts.parameters > search.max_parameters:
            return f"more than {size(search.max_parameters)} parameters"
    if search.licences:
        if facts.licence is None:
            return "licence unknown"
        if facts.licence not in {licence.lower() for licence in search.licences}:
            return f"licence is not {' or '.join(search.licences)}"
    return None
