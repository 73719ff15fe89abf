"""Baseline: stored per-query scores of the pipeline in use, to pair a later one with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import Field

from harness.arrays import Clusters, Values
from harness.collection import Collection
from harness.environment import today, versions
from harness.errors import ExitCode, HarnessError
from harness.gates.targets import Target
from harness.hashing import digest
from harness.plan.plan import Plan
from harness.results.gathering import candidate_result
from harness.results.values import CandidateResult
from harness.statistics.units import estimate, units
from harness.suite.spec import Suite
from harness.value import Value

FORMAT = 1

Spread = dict[str, dict[str, float]]


class StoredCollection(Value):
    """The keys of what the scores belong to."""

    source: str
    split: str
    documents_key: str
    queries_key: str
    judgements_key: str
    exclude_identical_ids: bool
    queries: int


class Recorded(Value):
    """The spread of an older baseline."""

    date: str
    sd: Spread


class About(Value):
    """What is known of a stored baseline besides its scores.

    Attributes:
        candidate: what was in use; its weights' key, prompts, width.
        sd: by collection and metric, the standard deviation of per-query differences between the
            suite's other candidates and this one (median over them), as large as clusters of
            queries make it look; absent where there is none.
        history: spreads of the baselines before, oldest first.
        rankings: by collection, a digest of each training seed's ranking; empty in a file from
            before they were stored.
        file: the suite file, relative to the folder of the baseline; None in an older baseline.
    """

    format: int = FORMAT
    suite: str
    date: str
    candidate: CandidateResult
    metrics: list[str]
    collections: dict[str, StoredCollection]
    versions: dict[str, str]
    sd: Spread
    history: list[Recorded] = Field(default=[])
    rankings: dict[str, list[str]] = Field(default={})
    file: str | None = None


@dataclass(frozen=True)
class StoredScores:
    """Per-query scores on one collection: ids, and each metric's float64 [n]."""

    query_ids: tuple[str, ...]
    values: Mapping[str, Values] = field(repr=False)


@dataclass(frozen=True)
class StoredBaseline:
    """A baseline as it lies on disk."""

    about: About
    scores: Mapping[str, StoredScores]

    def spread(self, collection: str, metric: str) -> float | None:
        """Return the stored standard deviation of differences, or None."""
        return self.about.sd.get(collection, {}).get(metric)


def make_baseline(plan: Plan, *, file: str | None = None) -> StoredBaseline:
    """Return the baseline of a finished plan: the suite's baseline candidate as it is now.

    Args:
        plan: finished.
        file: the suite file, relative to the folder that the baseline is written to.
    """
    suite = plan.suite
    metrics = [str(metric) for metric in suite.parsed_metrics()]
    scores = {}
    for name, texts in plan.collections.items():
        card = plan.scored[suite.baseline, name].result(plan.store)
        values = {metric: np.array(card.values[metric]) for metric in metrics}
        scores[name] = StoredScores(texts.query_ids, values)
    about = About(
        suite=suite.name,
        date=today(),
        candidate=candidate_result(plan, suite.baseline),
        metrics=metrics,
        collections={
            name: _keys(texts, suite.collections[name].source)
            for name, texts in plan.collections.items()
        },
        versions=versions(),
        sd=_spreads(plan, scores, metrics),
        rankings={name: rankings_of(plan, suite.baseline, name) for name in plan.collections},
        file=file,
    )
    return StoredBaseline(about, scores)


def rankings_of(plan: Plan, candidate: str, collection: str) -> list[str]:
    """Return a digest of each training seed's ranking: documents by query, without their scores."""
    stages = plan.scored[candidate, collection].stages
    return [digest("ranking", stage.run_stage.result(plan.store).documents) for stage in stages]


def accepted(new: StoredBaseline, old: StoredBaseline) -> StoredBaseline:
    """Return the new baseline with the older spreads kept as its history."""
    history = [*old.about.history, Recorded(date=old.about.date, sd=old.about.sd)]
    return StoredBaseline(new.about.model_copy(update={"history": history}), new.scores)


def differing(
    stored: StoredBaseline, name: str, texts: Collection, metrics: set[str]
) -> Iterator[str]:
    """Yield what keeps a stored baseline from being compared with a collection, in a few words."""
    was = stored.about.collections.get(name)
    if was is None:
        yield "no scores of this collection"
        return
    now = _keys(texts, was.source)
    words = {
        "documents_key": "other documents",
        "queries_key": "other queries",
        "judgements_key": "other judgements",
        "split": f"another split ('{was.split}', now '{now.split}')",
        "exclude_identical_ids": "another 'exclude_identical_ids'",
    }
    yield from (text for key, text in words.items() if getattr(was, key) != getattr(now, key))
    if set(stored.scores[name].query_ids) != set(texts.query_ids):
        yield "scores of other query ids"
    missing = sorted(metrics - set(stored.about.metrics))
    if missing:
        yield f"no scores in {', '.join(missing)}"


def check_comparable(
    stored: StoredBaseline, path: Path, plan: Plan, targets: Iterable[Target]
) -> None:
    """Refuse a stored baseline that belongs to other data.

    Args:
        stored: from `path`.
        path: for messages.
        plan: of the suite.
        targets: the relative ones say which collections and metrics are needed.

    Raises:
        HarnessError: exit code 3, with everything that differs.
    """
    asked: dict[str, set[str]] = {}
    for target in targets:
        if target.is_relative:
            asked.setdefault(target.collection, set()).add(target.asked)
    problems = []
    for name, metrics in asked.items():
        found = list(differing(stored, name, plan.collections[name], metrics))
        if found:
            problems.append(
                f"{path}: not comparable on '{name}': {', '.join(found)} (stored "
                f"{stored.about.date}). If the change is meant, store a new one with: "
                f"harness baseline accept {file_of(plan.suite)}"
            )
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.DATA)


def file_of(suite: Suite) -> str:
    """Return the path of a suite's file, for messages."""
    return str(suite.path) if suite.has_file else "SUITE"


def paired_values(stored: StoredScores, query_ids: tuple[str, ...], metric: str) -> Values:
    """Return stored scores in the order of `query_ids`.

    Raises:
        KeyError: a query has no stored score.
    """
    places = {key: row for row, key in enumerate(stored.query_ids)}
    values: Values = stored.values[metric][[places[key] for key in query_ids]]
    return values


def _keys(texts: Collection, source: str) -> StoredCollection:
    return StoredCollection(
        source=source,
        split=texts.split,
        documents_key=texts.documents_key,
        queries_key=texts.queries_key,
        judgements_key=texts.judgements_key,
        exclude_identical_ids=texts.exclude_identical_ids,
        queries=len(texts.query_ids),
    )


def _spread(differences: Values, clusters: Clusters | None) -> float:
    """Return the standard error times sqrt(n): the standard deviation, times that of the design."""
    n = len(differences)
    se = float(estimate(units(differences[:, None], clusters)).se[0])
    return se * n**0.5 if n > 1 else 0.0


def _spreads(plan: Plan, scores: Mapping[str, StoredScores], metrics: list[str]) -> Spread:
    others = [name for name in plan.suite.candidates if name != plan.suite.baseline]
    found: Spread = {}
    for collection, stored in scores.items() if others else ():
        cards = [plan.scored[name, collection].result(plan.store) for name in others]
        clusters = plan.collections[collection].clusters
        found[collection] = {
            metric: median(
                _spread(card.values[metric] - stored.values[metric], clusters) for card in cards
            )
            for metric in metrics
        }
    return found
