"""Partial: the part of a plan that has every result, where stages of other parts have failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from harness.plan.execute import StagesFailedError
from harness.plan.plan import Plan
from harness.suite.kinds.kind import CandidateSpec
from harness.suite.spec import CollectionSpec, Suite, lineage


class Partial(NamedTuple):
    """A plan whose results can be gathered, and what it lacks.

    Attributes:
        plan: of the candidates and collections that are left.
        failed: a sentence for each candidate or collection that is left out, and the reasons.
    """

    plan: Plan
    failed: list[str]


def partial(plan: Plan, failure: StagesFailedError) -> Partial:
    """Return what is left of a plan after some of its stages failed.

    A candidate without results on any collection is left out, and those that need it; then each
    collection on which another candidate has none, so that every comparison is whole.

    Raises:
        StagesFailedError: nothing can be compared: no target collection or no baseline is left.
    """
    suite, store = plan.suite, plan.store
    whole = {place for place in plan.scored if _is_whole(plan, place)}
    alive = {
        name for name in suite.candidates if any((name, each) in whole for each in plan.collections)
    }
    candidates = [name for name in suite.candidates if lineage(suite, name) <= alive]
    collections = [
        each for each in plan.collections if all((name, each) in whole for name in candidates)
    ]
    if suite.baseline not in candidates or not {*collections} & {*suite.collections_of("target")}:
        raise failure
    failed = [*_left_out(plan, whole, candidates, collections), *failure.problems]
    specs = {name: suite.candidates[name] for name in candidates}
    sources = {each: suite.collections[each] for each in collections}
    left = {place for place in whole if place[0] in specs and place[1] in sources}
    return Partial(
        replace(
            plan,
            suite=_suite_of(suite, specs, sources),
            collections={each: plan.collections[each] for each in collections},
            scored={place: stage for place, stage in plan.scored.items() if place in left},
            steps={place: stage for place, stage in plan.steps.items() if place in left},
            lengths={place: stage for place, stage in plan.lengths.items() if place in left},
            tasks={place: stage for place, stage in plan.tasks.items() if place[0] in specs},
            growing={
                name: growing
                for name, growing in plan.growing.items()
                if name in specs and all(stage.is_done(store) for stage in growing.stages())
            },
        ),
        failed,
    )


def _suite_of(
    suite: Suite, candidates: dict[str, CandidateSpec], collections: dict[str, CollectionSpec]
) -> Suite:
    """Return a suite of these alone, which diagnoses nobody else and in no other's space."""
    asked = suite.diagnosis
    lost = suite.candidates.keys() - candidates
    diagnosis = asked.model_copy(
        update={
            "candidates": [name for name in asked.candidates if name not in lost],
            "references": [name for name in asked.references if name not in lost],
            "training": {name: data for name, data in asked.training.items() if name not in lost},
            "neutral": None if asked.neutral in lost else asked.neutral,
        }
    )
    return suite.model_copy(
        update={"candidates": candidates, "collections": collections, "diagnosis": diagnosis}
    )


def _is_whole(plan: Plan, place: tuple[str, str]) -> bool:
    """Tell whether everything that is gathered of a candidate on a collection is stored."""
    timed = [step for step in plan.steps[place] if step is not None]
    stages = [*plan.scored[place].stages, *timed, *plan.lengths.get(place, ())]
    return all(stage.is_done(plan.store) for stage in stages)


def _left_out(
    plan: Plan, whole: set[tuple[str, str]], candidates: list[str], collections: list[str]
) -> Iterator[str]:
    suite = plan.suite
    for name in suite.candidates:
        if name not in candidates:
            lost = [
                each for each in lineage(suite, name) if each != name and each not in candidates
            ]
            needs = f", which needs {_quoted(sorted(lost))}," if lost else ""
            yield f"Candidate '{name}'{needs} failed and is left out of all comparisons."
    for each in plan.collections:
        if each not in collections:
            lacking = [name for name in candidates if (name, each) not in whole]
            yield f"Collection '{each}' is left out: {_quoted(lacking)} failed on it."
    for name in plan.growing:
        if name in candidates and not all(
            stage.is_done(plan.store) for stage in plan.growing[name].stages()
        ):
            yield f"The learning curve of '{name}' is left out: one of its trainings failed."


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
