"""Judged: all collections of a suite, as the grades of people and of a model have them so far."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from harness.arrays import Flags, Values
from harness.errors import counted
from harness.judging.graders import Grader, find_grader
from harness.judging.judges import Kappa, agreements, read_judges
from harness.judging.rounds import GradesOf, Round, open_round
from harness.judging.values import JudgedDifference, JudgedOrder, ModelGrades
from harness.plan.plan import Plan
from harness.runs.run import Run
from harness.value import Value


class JudgedSuite(Value):
    """What the grades show so far.

    Attributes:
        differences: of each candidate from the baseline, by collection.
        models: by collection, the model that grades beside people; empty without one.
        agreements: by collection, of every two judges who graded the same pairs.
        orders: what it takes to order all candidates, of each collection with three or more.
        files: by collection, the file to enter grades in.
    """

    differences: list[JudgedDifference]
    models: dict[str, ModelGrades]
    agreements: dict[str, list[Kappa]]
    orders: list[JudgedOrder] = Field(default_factory=list)
    files: dict[str, str] = Field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        """The same for people: the differences, then the bias of the model.

        One line for a collection of which nothing is graded.
        """
        found = [
            each.sentence
            if each.judged or each.model_grades
            else f"{each.collection}: no grades yet. Enter 0 to 3, skip or bad query in the column "
            f"'grade' of {self.files.get(each.collection, 'its file')}.{_kept(each.known)}"
            for each in self.differences
        ]
        found = list(dict.fromkeys(found))
        found += [each.sentence for each in self.orders]
        for place, model in self.models.items():
            found += model.sentences(place)
        for place, agreed in self.agreements.items():
            found += [f"{place}, {each.sentence}." for each in agreed]
        return found


def _kept(known: int) -> str:
    return f" The collection's own {counted(known, 'judgement')} count as known." if known else ""


class Estimates(NamedTuple):
    """What grades of a part of the pairs say of every candidate on a collection.

    Attributes:
        differences: from the baseline, float64 [n_queries], as of `Estimated.as_differences`.
        rows: bool, the queries that they are about: not the bad ones.
        source: how many queries and grades, in a phrase.
        by_people: whether people graded enough for an interval; else the model graded alone.
        whole: whether no pair is left to grade.
        alone: as `differences`, by the model's grades alone; empty without a model.
    """

    differences: dict[str, Values]
    rows: Flags
    source: str
    by_people: bool
    whole: bool
    alone: dict[str, Values]


def estimates(opened: Round) -> Estimates | None:
    """Return the estimates of a collection; None where its own judgements say more.

    These are those of people, if every candidate has an interval; of a model alone where nobody
    has judged anything.
    """
    names = {candidate: (baseline, candidate) for baseline, candidate in opened.pairs}
    alone = {}
    for name, pair in names.items():
        found = opened.by_model_alone(pair)
        if found is not None and np.isfinite(found.se):
            alone[name] = found.as_differences()
    by_people = {name: opened.estimated(pair) for name, pair in names.items()}
    source, rows = opened.source, ~opened.bad
    if opened.human_grades and all(np.isfinite(each.se) for each in by_people.values()):
        differences = {name: each.as_differences() for name, each in by_people.items()}
        whole = opened.judged == opened.plan.n_pairs
        return Estimates(differences, rows, source, by_people=True, whole=whole, alone=alone)
    if len(alone) == len(names) and not len(opened.collection.judgements.grades):
        return Estimates(alone, rows, source, by_people=False, whole=False, alone={})
    return None


def open_rounds(
    plan: Plan,
    files: Mapping[str, Path],
    *,
    before: Mapping[str, Run],
) -> dict[str, Round]:
    """Return the round of each collection, with the stored grades of the suite's model.

    Args:
        plan: finished.
        files: that people fill in, by target collection.
        before: by collection, what the stored baseline ranked; it is judged with the candidates,
            as `stored_name`, where the baseline ranks otherwise now.

    Raises:
        HarnessError: exit code 3, a file is broken.
    """
    suite, store = plan.suite, plan.store
    grader = find_grader(plan, offline=True)

    def runs(name: str) -> dict[str, Run]:
        found = {each: plan.scored[each, name].run_stage.result(store) for each in suite.candidates}
        old = before.get(name)
        if old is not None:
            now = np.full_like(old.documents, -1)
            first = found[suite.baseline].documents[:, : now.shape[1]]
            now[:, : first.shape[1]] = first
            if not np.array_equal(now, old.documents):
                found[stored_name(suite.baseline)] = old
        return found

    return {
        name: open_round(
            runs(name),
            plan.collections[name],
            suite.deciding_metric,
            baseline=suite.baseline,
            seed=suite.seed,
            file=file,
            model=None if grader is None else _grades(grader, plan, name),
        )
        for name, file in files.items()
    }


def stored_name(baseline: str) -> str:
    """Return what the stored ranking of the baseline is called beside the candidates."""
    return f"{baseline} (stored)"


def _grades(grader: Grader, plan: Plan, name: str) -> GradesOf:
    return partial(grader.grades, plan.store, name)


def judge_rounds(plan: Plan, rounds: Mapping[str, Round], files: Mapping[str, Path]) -> JudgedSuite:
    """Return what the grades of all collections show.

    Raises:
        HarnessError: exit code 3, the answers of the judges cannot be read.
    """
    grader = find_grader(plan, offline=True)
    models = {} if grader is None else {n: _about(grader, each) for n, each in rounds.items()}
    differences = [found for each in rounds.values() for found in each.differences()]
    agreed = {name: list(agreements(read_judges(file))) for name, file in files.items()}
    orders = [found for each in rounds.values() if (found := each.order()) is not None]
    return JudgedSuite(
        differences=differences,
        models=models,
        agreements=agreed,
        orders=orders,
        files={name: str(file) for name, file in files.items()},
    )


def _about(grader: Grader, opened: Round) -> ModelGrades:
    by_grade, by_candidate = opened.biases()
    return ModelGrades(
        name=grader.name,
        highest=grader.highest,
        prompt=grader.prompt,
        grades=opened.model_grades,
        pairs=opened.plan.n_pairs,
        by_grade=by_grade,
        by_candidate=by_candidate,
        kin=list(grader.kin()),
    )
