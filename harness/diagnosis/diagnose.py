"""Diagnose: the stages of a suite's diagnosis, and what they found put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from harness.collection import Collection
from harness.diagnosis.coverage import known_training, training_data
from harness.diagnosis.explain import ExplainCandidate
from harness.diagnosis.files import QueryRows
from harness.diagnosis.health import CheckHealth, plan_health
from harness.diagnosis.layout import LayOut
from harness.diagnosis.neutral import choose_neutral
from harness.diagnosis.sentences import WriteSentences
from harness.diagnosis.subject import plan_subject
from harness.diagnosis.values import Diagnosis
from harness.diagnosis.view import Facts, View
from harness.errors import HarnessError
from harness.hashing import digest
from harness.plan.plan import Plan
from harness.retrieval.lexical import LexicalSearch, with_language
from harness.stage import Stage
from harness.suite.kinds.bm25 import Bm25

_BESIDE = "diagnosed-beside"  # which candidate, by the runs


@dataclass(frozen=True)
class DiagnosisPlan:
    """What is to be looked into, once the suite itself is run.

    Attributes:
        plan: finished.
        explained: one stage for each candidate on each collection.
        checked: one stage for each collection.
        laid_out: one stage for each collection.
        sentences: one stage for each of `explained`, where the suite names a language model.
    """

    plan: Plan
    explained: tuple[ExplainCandidate, ...]
    checked: tuple[CheckHealth, ...]
    laid_out: Mapping[str, LayOut]
    sentences: tuple[WriteSentences, ...] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages in an order in which each finds its inputs done."""
        before: dict[Stage, None] = {}
        for each in self.explained:
            before.update(dict.fromkeys(each.view.stages))
            if each.training is not None:
                before.update(dict.fromkeys(each.training.vectors.stages))
        return (*before, *self.laid_out.values(), *self.explained, *self.checked, *self.sentences)

    @property
    def is_done(self) -> bool:
        """Whether everything was looked into; a diagnosis without its sentences is one."""
        stages = self.stages[: len(self.stages) - len(self.sentences)]
        return all(stage.is_done(self.plan.store) for stage in stages)

    @property
    def is_asked(self) -> bool:
        """Whether the language model was asked for every sentence."""
        return all(stage.is_done(self.plan.store) for stage in self.sentences)


def plan_diagnosis(plan: Plan) -> DiagnosisPlan:
    """Work out the stages of a diagnosis.

    Args:
        plan: finished: which other candidate is the best is read from the scorecards.

    Raises:
        HarnessError: the neutral space or the training pairs that the suite names are not there.
    """
    spec = plan.suite.diagnosis
    names = list(dict.fromkeys(spec.candidates)) or _default(plan)
    neutral = choose_neutral(plan, names)
    training = {name: known_training(plan, name, neutral) for name in names}
    views = {
        name: View(
            Facts(
                plan.collections[name],
                plan.suite.deciding_metric.level,
                _language(plan, plan.collections[name]),
            ),
            neutral=neutral,
            store=plan.store,
            seed=plan.suite.seed,
        )
        for name in plan.suite.collections_of("target")
    }
    references = dict.fromkeys(spec.references or [plan.suite.baseline])
    explained = tuple(
        ExplainCandidate(
            subject=plan_subject(plan, name, view.facts),
            view=view,
            references=tuple(
                (other, plan.scored[other, place]) for other in references if other != name
            ),
            discovery=spec.discovery,
            training=training[name],
        )
        for place, view in views.items()
        for name in names
    )
    model, offline = spec.language_model, plan.planner.hub == "refuse"
    return DiagnosisPlan(
        plan=plan,
        explained=explained,
        checked=tuple(plan_health(plan, view.facts) for view in views.values()),
        laid_out={
            name: LayOut(view.collection, view.query_source, view.facts.language)
            for name, view in views.items()
        },
        sentences=tuple(WriteSentences(each, model, offline) for each in explained)
        if model is not None
        else (),
    )


def diagnose_beside_baseline(plan: Plan, candidate: str | None) -> None:
    """Let the diagnosis of these runs be of a candidate beside the baseline, from now on.

    Args:
        plan: finished; what its suite names goes before.
        candidate: that is recommended; None takes the best-scoring one.
    """
    meta = {"label": f"diagnose {candidate} beside the baseline", "candidate": candidate}
    plan.store.put(_BESIDE, _key_of_runs(plan), arrays={}, meta=meta, replaces=True)


def check_diagnosis(plan: Plan) -> None:
    """Raise where what the suite names for its diagnosis is missing: known before anything runs.

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

    Where the suite asks for a diagnosis that cannot be, there is none; `harness diagnose` tells.
    """
    try:
        made = plan_diagnosis(plan)
    except HarnessError:
        return None
    return made if made.is_done else None


def read_diagnosis(made: DiagnosisPlan) -> Diagnosis:
    """Put together what the stages of a finished diagnosis found."""
    plan = made.plan
    candidates = [stage.result(plan.store) for stage in made.explained]
    if made.sentences:
        candidates = [
            stage.with_sentences(one, plan.store)
            for stage, one in zip(made.sentences, candidates, strict=True)
        ]
    return Diagnosis(
        suite=plan.suite.name,
        metric=str(plan.suite.deciding_metric),
        k=plan.suite.hit_rank,
        discovery=plan.suite.diagnosis.discovery,
        candidates=candidates,
        data=[stage.result(plan.store) for stage in made.checked],
        topics=[topic for stage in made.laid_out.values() for topic in stage.topics(plan.store)],
    )


def read_rows(made: DiagnosisPlan) -> Iterator[QueryRows]:
    """Yield what a finished diagnosis says of every query."""
    store = made.plan.store
    for stage in made.explained:
        found, artifact = stage.result(store), stage.stored(store)
        ids = stage.view.collection.query_ids
        reasons: dict[str, list[str]] = {key: [] for key in ids}
        for finding in found.findings:
            for query in finding.queries:
                reasons[query].append(finding.reason)
        clusters = dict.fromkeys(ids, "")
        for cluster in reversed([each for each in found.clusters if each.mode == "loss"]):
            clusters |= dict.fromkeys(cluster.members, cluster.key)
        yield QueryRows(
            candidate=found.candidate,
            collection=found.collection,
            query_ids=ids,
            stages=artifact.array("stages").tolist(),
            ranks=[rank or None for rank in artifact.array("ranks").tolist()],
            losses=np.array(artifact.array("losses")),
            misses=np.array(artifact.array("missed")),
            reasons=[reasons[key] for key in ids],
            places=made.laid_out[found.collection].places(store),
            clusters=[clusters[key] for key in ids],
        )


def _language(plan: Plan, collection: Collection) -> str:
    """Return the language that the suite's BM25 takes a collection for, else what is detected."""
    runs = (plan.planner.judged_run(name, collection.name) for name in plan.suite.candidates)
    specs = (run.spec for run in runs if isinstance(run, LexicalSearch))
    given = next(specs, Bm25(kind="bm25"))
    found = with_language(given, collection, store=plan.store).language
    return found if found == "english" else "none"


def _default(plan: Plan) -> list[str]:
    """Return the baseline, and the recommended candidate or else the best other one."""
    found = plan.store.get(_BESIDE, _key_of_runs(plan))
    candidate = None if found is None else found.meta["candidate"]
    if candidate in plan.suite.candidates and candidate != plan.suite.baseline:
        return [plan.suite.baseline, candidate]
    return _baseline_and_best(plan)


def _key_of_runs(plan: Plan) -> str:
    """Return the key of all scores of a finished plan."""
    scored = [scored.key(plan.store) for _, scored in sorted(plan.scored.items())]
    return digest("beside", plan.suite.baseline, *scored)


def _baseline_and_best(plan: Plan) -> list[str]:
    """Return the baseline and the other candidate with the highest mean over the collections."""
    suite, metric = plan.suite, str(plan.suite.deciding_metric)

    def mean(name: str) -> float:
        places = suite.collections_of("target")
        cards = [plan.scored[name, place].result(plan.store) for place in places]
        return float(np.mean([card.values[metric].mean() for card in cards]))

    means = {name: mean(name) for name in suite.candidates if name != suite.baseline}
    return [suite.baseline, *sorted(means, key=lambda name: -means[name])[:1]]
