"""Better models: who did better than ours on the same published tasks, and how to say it.

Published tasks are a sample of neither our queries nor each other: they choose what to measure,
they do not decide. Intervals are not corrected for the number of models that were looked at.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from harness.errors import ExitCode, HarnessError, counted, did_you_mean, first_of
from harness.published.reading import SELF_REPORTED, ModelFacts, Published, Result
from harness.statistics import TIE, mean_interval
from harness.statistics.verdicts import signed
from harness.suite.spec import PublishedSpec

MIN_TASKS = 3

_NEAR = 0.6  # as in `harness.errors.did_you_mean`


@dataclass(frozen=True, kw_only=True)
class TaskDifference:
    """Both models on one task, over the splits and subsets that both have.

    Attributes:
        subsets: how many pairs of split and subset the two means are over.
        revision: of the model, for this task.
        same_data: both ran on one revision of the data; None where a file does not say.
    """

    task: str
    score: float
    reference_score: float
    difference: float
    subsets: int
    revision: str
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
        low, high: its 95% t-interval over the tasks, which vary far more than queries do.
        wins, ties, losses: tasks; a difference below 0.001 is a tie.
        tasks: in order of their names.
        trained_on: tasks in common that were left out, because one of the two models was trained
            on their data.
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
    """What was found; `dataclasses.asdict` is its JSON form.

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


def better_models(
    published: Published,
    spec: PublishedSpec,
    *,
    tested: Collection[str] = (),
    min_tasks: int = MIN_TASKS,
) -> BetterModels:
    """Compare every published model with the reference on the tasks that both have.

    Args:
        published: the results.
        spec: reference, tasks and filters. Subsets in none of its languages do not count.
        tested: models of the suite, named like the reference; others are ignored.
        min_tasks: at least 2; a model with fewer in common with the reference is not ranked.

    Raises:
        HarnessError: exit code 2, the reference has no published result, or none of the kind or
            the tasks that were asked for.
    """
    reference = find_model(spec.reference, published.results)
    warnings = list(published.warnings)
    tasks = _tasks(published, spec, reference, warnings)
    of_suite = {each for name in tested for each in hub_ids_of(name, published.results)}
    compared = []
    left_out: dict[str, list[str]] = {}
    for model in published.results:
        if model == reference:
            continue
        rows, trained_on = _pair(published, spec, (model, reference), tasks)
        facts = published.models[model].facts
        few = f"fewer than {min_tasks} published {spec.kind} tasks in common"
        reason = few if len(rows) < min_tasks else _unfit(facts, spec)
        if reason:
            left_out.setdefault(reason, []).append(model)
            continue
        differences = np.array([row.difference for row in rows])
        mean, low, high = mean_interval(differences)
        compared.append(
            PublishedComparison(
                model=model,
                facts=facts,
                tested=model in of_suite,
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
        )
    return BetterModels(
        reference=reference,
        kind=spec.kind,
        languages=tuple(spec.languages),
        reference_tasks=tasks,
        compared=tuple(sorted(compared, key=lambda each: (-each.difference, each.model))),
        left_out=tuple(LeftOut(why, tuple(models)) for why, models in sorted(left_out.items())),
        warnings=tuple(warnings),
    )


def _tasks(
    published: Published, spec: PublishedSpec, reference: str, warnings: list[str]
) -> tuple[str, ...]:
    """Return the tasks of the search on which the reference is published, in order."""
    kinds = {name: task.kind for name, task in published.tasks.items() if task}
    if spec.tasks:
        wanted, problems = list(spec.tasks), []
        for name in wanted:
            if name not in published.tasks:
                near = nearest(name, published.tasks)
                hint = f"Did you mean '{near}'?" if near else "Use MTEB's name."
                problems.append(f"task '{name}' is not in {published.folder}. {hint}")
            elif kinds.get(name, spec.kind) != spec.kind:
                which = f"is of kind {kinds[name]}"
                problems.append(f"task '{name}' {which}. Ask for tasks of one kind.")
    else:
        wanted = [name for name, kind in kinds.items() if kind == spec.kind]
        hint = did_you_mean(spec.kind, set(kinds.values()))
        no_task = f"kind '{spec.kind}': no published task has it.{hint}"
        problems = [] if wanted else [no_task]
        if unknown := sorted(published.tasks.keys() - kinds):
            warnings.append(
                f"{counted(len(unknown), 'task')} of unknown kind left out: {first_of(unknown)}. "
                "Name them to compare on them."
            )
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    results = published.results[reference]
    tasks = tuple(name for name in results if name in wanted and _cells(results[name], spec))
    if not tasks:
        where = f" in {', '.join(spec.languages)}" if spec.languages else ""
        raise HarnessError(
            f"model '{reference}' has no published result on {first_of(wanted)}{where}. "
            f"It has: {first_of(list(results), most=20)}.",
            exit_code=ExitCode.USAGE,
        )
    if spec.tasks and (missing := [name for name in wanted if name not in tasks]):
        warnings.append(f"{reference} has no published result on {first_of(missing)}.")
    return tasks


def _cells(result: Result, spec: PublishedSpec) -> dict[tuple[str, str], float]:
    """Return the score of each split and subset in the languages of the spec."""
    wanted = set(spec.languages)
    return {
        (cell.split, cell.subset): cell.score
        for cell in result.cells
        if not wanted or wanted & {code.split("-")[0] for code in cell.languages}
    }


def _pair(
    published: Published, spec: PublishedSpec, names: tuple[str, str], tasks: tuple[str, ...]
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
        if name not in parts and (row := _difference(mine[name], theirs[name], spec))
    ]
    trained_on = tuple(row.task for row in rows if any(row.task in tasks for tasks in seen))
    return [row for row in rows if row.task not in trained_on], trained_on


def _difference(mine: Result, theirs: Result, spec: PublishedSpec) -> TaskDifference | None:
    scores, reference = _cells(mine, spec), _cells(theirs, spec)
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
        same_data=None if None in revisions else revisions[0] == revisions[1],
    )


def _unfit(facts: ModelFacts, spec: PublishedSpec) -> str | None:
    """Return why a model does not pass the filters; an unknown fact does not pass."""
    if spec.max_parameters is not None:
        if facts.parameters is None:
            return "number of parameters unknown"
        if facts.parameters > spec.max_parameters:
            return f"more than {model_size(spec.max_parameters)} parameters"
    if spec.licences:
        if facts.licence is None:
            return "licence unknown"
        if facts.licence not in {licence.lower() for licence in spec.licences}:
            return f"licence is not {' or '.join(spec.licences)}"
    return None


def sentences(found: BetterModels) -> tuple[str, ...]:
    """Return the findings: an overview, each better model, what was left out, and the caveat."""
    above = [each for each in found.compared if each.difference > 0]
    overview = (
        f"Of {counted(len(found.compared), 'model')} with published {_where(found)} in common "
        f"with {found.reference}, {len(above)} scored better on average; {len(found.to_add)} not "
        "in this suite."
    )
    left_out = [
        f"{counted(len(left.models), 'model')} left out: {left.reason} ({first_of(left.models)})."
        for left in found.left_out
    ]
    caveat = (
        "Published tasks are not your data, related tasks are correlated, and the intervals are "
        "not adjusted for the number of models. Use them to choose what to measure next."
    )
    better = [sentence(found, each) for each in above]
    return (overview, *better, *left_out, *found.warnings, *([caveat] if above else []))


def sentence(found: BetterModels, comparison: PublishedComparison) -> str:
    """Return what is published about one model, with what weakens it."""
    down = comparison.difference < 0
    low, high = comparison.low, comparison.high
    low, high = (-high, -low) if down else (low, high)
    interval = f"[{low:.3f}, {high:.3f}]".replace("-", "\u2212")
    settled = "" if low > 0 else ", not significant with so few tasks"
    suite = "it is in this suite" if comparison.tested else "it is not in this suite"
    return (
        f"{comparison.model} ({_facts(comparison.facts)}) is {abs(comparison.difference):.3f} "
        f"{interval} {'below' if down else 'above'} {found.reference} "
        f"on {comparison.n} published {_where(found)} "
        f"({counted(comparison.wins, 'win')}, {counted(comparison.losses, 'loss')}){settled}; "
        f"{suite}.{_caveats(comparison)}"
    )


def _where(found: BetterModels) -> str:
    where = f" in {', '.join(found.languages)}" if found.languages else ""
    return f"{found.kind} tasks{where}"


def _facts(facts: ModelFacts) -> str:
    parts = [facts.architecture or ""] if facts.architecture != "dense" else []
    if facts.parameters is None:
        parts.append("size unknown")
    elif facts.parameters > 0:  # BM25 has none
        parts.append(f"{model_size(facts.parameters)} parameters")
    parts.append(facts.licence or "licence unknown")
    parts.append(facts.released[:7] if facts.released else "date unknown")
    parts.append("closed weights" if facts.open_weights is False else "")
    return ", ".join(part for part in parts if part)


def _caveats(comparison: PublishedComparison) -> str:
    """Return what makes the figures weaker than they look, as one sentence or nothing."""
    revisions = Counter(row.revision for row in comparison.tasks)
    own = revisions.pop(SELF_REPORTED, 0)
    other_data = sum(row.same_data is False for row in comparison.tasks)
    left = comparison.trained_on
    total = comparison.difference * comparison.n
    largest = max(comparison.tasks, key=lambda row: row.difference * total)
    rest = (total - largest.difference) / (comparison.n - 1)
    is_most = bool(total) and abs(largest.difference) >= abs(total) / 2
    caveats = [
        f"without {largest.task} the difference is {signed(rest)}" if is_most else "",
        f"{own} of {comparison.n} scores self-reported" if own else "",
        f"scores of {len(revisions)} revisions of the model" if len(revisions) > 1 else "",
        f"{counted(other_data, 'task')} on another revision of the data" if other_data else "",
        f"{first_of(left)} left out: one of the two models was trained on it" if left else "",
        "" if comparison.training_declared else "training data not declared",
    ]
    said = "; ".join(caveat for caveat in caveats if caveat)
    return f" Note: {said}." if said else ""


def hub_ids_of(name: str, known: Collection[str]) -> tuple[str, ...]:
    """Return the hub ids that a name can stand for: the same, in other case, or by its last part.

    >>> hub_ids_of("all-minilm-l6-v2", ["sentence-transformers/all-MiniLM-L6-v2"])
    ('sentence-transformers/all-MiniLM-L6-v2',)
    """
    if name in known:
        return (name,)
    folded = name.replace("__", "/").casefold()
    whole = tuple(each for each in known if each.casefold() == folded)
    return whole or tuple(each for each in known if _last_part(each) == _last_part(folded))


def find_model(name: str, known: Collection[str]) -> str:
    """Return the hub id that a name stands for.

    Raises:
        HarnessError: exit code 2, there is none, or more than one.
    """
    found = hub_ids_of(name, known)
    if len(found) == 1:
        return found[0]
    if found:
        problem = f"may be any of {', '.join(found)}. Name one in full."
    else:
        by_part = {_last_part(each): each for each in known}
        near = nearest(_last_part(name), by_part)
        hint = f"Did you mean '{by_part[near]}'?" if near else "Name it as it is on the hub."
        problem = f"has no published result among {len(known)} models. {hint}"
    raise HarnessError(f"model '{name}' {problem}", exit_code=ExitCode.USAGE)


def nearest(word: str, known: Collection[str]) -> str | None:
    """Return the most similar known word, or None where none is similar.

    There can be thousands, so that `harness.errors.did_you_mean`, which then lists them, does not
    serve here.
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=_NEAR)
    return near[0] if near else None


def _last_part(name: str) -> str:
    return re.split(r"[/:]", name.rstrip("/"))[-1].casefold()


def model_size(parameters: int) -> str:
    """Return a number of parameters as people say it.

    >>> model_size(33_360_512), model_size(7_560_000), model_size(1_540_000_000)
    ('33M', '7.6M', '1.5B')
    """
    if parameters >= 1e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.0f}M" if parameters >= 1e7 else f"{parameters / 1e6:.1f}M"
