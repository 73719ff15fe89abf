"""Diagnose: the stages of a suite's diagnosis, and what they found put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.collection import Collection
from harness.diagnosis.coverage import known_training, training_data
from harness.diagnosis.explain import ExplainCandidate
from harness.diagnosis.files import QueryRows
from harness.diagnosis.health import CheckHealth
from harness.diagnosis.layout import LayOut
from harness.diagnosis.neutral import choose_neutral
from harness.diagnosis.values import CandidateDiagnosis, Diagnosis
from harness.diagnosis.view import View
from harness.errors import HarnessError
from harness.plan.plan import Plan
from harness.stage import Stage


@dataclass(frozen=True)
class DiagnosisPlan:
    """What is to be looked into, once the suite itself is run.

    Attributes:
        plan: finished.
        explained: one stage for each candidate on each collection.
        checked: one stage for each collection.
        laid_out: one stage for each collection.
    """

    plan: Plan
    explained: tuple[ExplainCandidate, ...]
    checked: tuple[CheckHealth, ...]
    laid_out: Mapping[str, LayOut]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages in an order in which each finds its inputs done."""
        before: dict[Stage, None] = {}
        for each in self.explained:
            before.update(dict.fromkeys(each.view.stages))
            if each.training is not None:
                before.update(dict.fromkeys(each.training.vectors.stages))
        return (*before, *self.laid_out.values(), *self.explained, *self.checked)

    @property
    def is_done(self) -> bool:
        """Whether everything was looked into."""
        return all(stage.is_done(self.plan.store) for stage in self.stages)


def plan_diagnosis(plan: Plan) -> DiagnosisPlan:
    """Work out the stages of a diagnosis.

    Args:
        plan: finished: which other candidate is the best is read from the scorecards.

    Raises:
        HarnessError: the neutral space or the training pairs that the suite names are not there.
    """
    spec = plan.suite.diagnosis
    names = list(dict.fromkeys(spec.candidates)) or _baseline_and_best(plan)
    neutral = choose_neutral(plan, names)
    training = {name: known_training(plan, name, neutral) for name in names}
    views = {
        name: View(
            collection=collection,
            neutral=neutral,
            level=plan.suite.deciding_metric.level,
            language=_language(plan),
            store=plan.store,
            seed=plan.suite.seed,
        )
        for name, collection in _targets(plan).items()
    }
    references = spec.references or [plan.suite.baseline]
    return DiagnosisPlan(
        plan=plan,
        explained=tuple(
            ExplainCandidate(
                plan=plan,
                candidate=name,
                view=view,
                references=tuple(other for other in dict.fromkeys(references) if other != name),
                training=training[name],
            )
            for view in views.values()
            for name in names
        ),
        checked=tuple(CheckHealth(plan, view.facts) for view in views.values()),
        laid_out={name: LayOut(view.collection, view.query_source) for name, view in views.items()},
    )


def check_diagnosis(plan: Plan) -> None:
    """Raise where what the suite names for its diagnosis is missing: known before anything runs.

    Args:
        plan: not yet run.

    Raises:
        HarnessError: as of `plan_diagnosis`.
    """
    spec = plan.suite.diagnosis
    if spec.neutral is not None:
        choose_neutral(plan, spec.candidates or [plan.suite.baseline])
    for name in spec.training:
        training_data(plan, name)


def find_diagnosis(plan: Plan) -> DiagnosisPlan | None:
    """Return the finished diagnosis of exactly these runs, judgements and settings, or None.

    Where the suite asks for a diagnosis that can not be, there is none; `harness diagnose` tells.

    Args:
        plan: finished.
    """
    try:
        made = plan_diagnosis(plan)
    except HarnessError:
        return None
    return made if made.is_done else None


def read_diagnosis(made: DiagnosisPlan) -> Diagnosis:
    """Put together what the stages of a finished diagnosis found."""
    plan = made.plan
    return Diagnosis(
        suite=plan.suite.name,
        metric=str(plan.suite.deciding_metric),
        k=plan.suite.hit_rank,
        discovery=plan.suite.diagnosis.discovery,
        candidates=[stage.result(plan.store) for stage in made.explained],
        data=[stage.result(plan.store) for stage in made.checked],
    )


def read_rows(made: DiagnosisPlan) -> Iterator[QueryRows]:
    """Yield what a finished diagnosis says of every query."""
    store = made.plan.store
    for stage in made.explained:
        found, artifact = stage.result(store), stage.stored(store)
        ids = stage.view.collection.query_ids
        ranks = artifact.array("ranks").tolist()
        yield QueryRows(
            candidate=found.candidate,
            collection=found.collection,
            query_ids=ids,
            stages=artifact.array("stages").tolist(),
            ranks=[rank or None for rank in ranks],
            losses=np.array(artifact.array("losses")),
            misses=np.array(artifact.array("missed")),
            reasons=_reasons(found, ids),
            places=made.laid_out[found.collection].places(store),
            clusters=_clusters(found, ids),
        )


def _reasons(found: CandidateDiagnosis, ids: Sequence[str]) -> list[list[str]]:
    reasons: dict[str, list[str]] = {}
    for finding in found.findings:
        for query in finding.queries:
            reasons.setdefault(query, []).append(finding.reason)
    return [reasons.get(key, []) for key in ids]


def _clusters(found: CandidateDiagnosis, ids: Sequence[str]) -> list[str]:
    owner: dict[str, str] = {}
    for cluster in found.clusters:
        if cluster.mode == "loss":
            for query in cluster.members:
                owner.setdefault(query, cluster.key)
    return [owner.get(key, "") for key in ids]


def _language(plan: Plan) -> str:
    """Return the language of the suite's BM25, where it has one."""
    languages = [spec.word_language for spec in plan.suite.candidates.values()]
    language = next((each for each in languages if each is not None), "english")
    return "english" if language == "english" else "none"


def _targets(plan: Plan) -> dict[str, Collection]:
    """Return the collections that the suite decides on."""
    return {name: plan.collections[name] for name in plan.suite.collections_of("target")}


def _baseline_and_best(plan: Plan) -> list[str]:
    """Return the baseline and the other candidate with the highest mean over the collections."""
    metric = str(plan.suite.deciding_metric)
    means = {
        name: float(
            np.mean(
                [
                    plan.scored[name, collection].result(plan.store).values[metric].mean()
                    for collection in _targets(plan)
                ]
            )
        )
        for name in plan.suite.candidates
        if name != plan.suite.baseline
    }
    return [plan.suite.baseline, *sorted(means, key=lambda name: -means[name])[:1]]
