"""Why it fails: what the page shows of a diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from harness.diagnosis.values import (
    CandidateDiagnosis,
    DataHealth,
    Diagnosis,
    FailureCluster,
    Lever,
    Topic,
)
from harness.results.values import Results
from reports import diagnosis_tables as tables
from reports import formats, plots
from reports.diagnosis_tables import CollectionTexts
from reports.failed import Failed
from reports.odds_figure import draw_odds, odds_caption
from reports.plots import Plot
from reports.tables import Table

MODES = {
    "loss": "Failure clusters",
    "difference": "Clusters that lose against {reference}",
    "documents": "Clusters of missed relevant documents",
}
_UNJUDGED = 10
_TEXT = 400  # characters of a text that is looked at


class Diagnosed(NamedTuple):
    """A diagnosis with what it is about.

    Attributes:
        texts: of its collections by name.
        failed: what it says of each query, by candidate and collection, for figures.
        missing: a sentence where it does not cover what the decision recommends, else "".
    """

    diagnosis: Diagnosis
    texts: Mapping[str, CollectionTexts]
    failed: Mapping[tuple[str, str], Failed] = MappingProxyType({})
    missing: str = ""


class Bar(NamedTuple):
    """A stage with its queries and its share of the loss, for a bar."""

    stage: str
    queries: str
    share: str
    lost: str
    meaning: str
    percent: float


class Example(NamedTuple):
    """A query that stands for a cluster, with texts."""

    role: str
    query: str
    returned: str
    relevant: str


@dataclass(frozen=True)
class Shown:
    """A cluster with its examples."""

    key: str
    about: str
    advice: str
    details: tuple[str, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Group:
    """The clusters of one mode."""

    title: str
    table: Table
    clusters: tuple[Shown, ...]


@dataclass(frozen=True)
class ReasonInWords:
    """A finding in sentences."""

    title: str
    status: str
    sentence: str


@dataclass(frozen=True)
class Failing:
    """Everything about one candidate on one collection, in the order of the page."""

    title: str
    headline: str
    warnings: list[str]
    stages: tuple[Bar, ...]
    levers: str
    findings: Table
    reasons: tuple[ReasonInWords, ...]
    others: str
    every_finding: Table
    plots: tuple[Plot, ...]
    groups: tuple[Group, ...]
    looked_in: str
    space: Table | None
    space_sentences: list[str]
    training: str
    training_sentences: list[str]


class Asked(NamedTuple):
    """A document that a person should judge."""

    query: str
    document: str
    why: str


@dataclass(frozen=True)
class Doubts:
    """What is doubtful about the data of a collection."""

    title: str
    bounds: Table
    sentences: list[str]
    unjudged: tuple[Asked, ...]


def failing(diagnosed: Diagnosed, results: Results) -> list[Failing]:
    """Return what the page shows of every candidate."""
    return [
        _failing(one, diagnosed, tables.tried(results, one))
        for one in diagnosed.diagnosis.candidates
    ]


def doubts(diagnosed: Diagnosed) -> list[Doubts]:
    """Return what the page shows of every collection."""
    return [_doubts(each, diagnosed.texts[each.collection]) for each in diagnosed.diagnosis.data]


def _failing(one: CandidateDiagnosis, diagnosed: Diagnosed, tried: Mapping[Lever, str]) -> Failing:
    found, texts = diagnosed.diagnosis, diagnosed.texts[one.collection]
    listed = ", ".join(f"{lever} {formats.signed(points)}" for lever, points in tables.levers(one))
    training, weighed = one.training, tables.weighed(one.findings)
    cells = tables.stages(one, found.k, found.metric)
    lost = sum(max(each.loss, 0) for each in one.stages) or 1.0
    return Failing(
        title=f"{one.candidate} on {one.collection}",
        headline=tables.headline(one, found.metric, found.k),
        warnings=one.warnings,
        stages=tuple(
            Bar(row[0], row[1], row[2], row[3], row[4], 100 * max(each.loss, 0) / lost)
            for row, each in zip(cells.rows, one.stages, strict=True)
        ),
        levers=f"Recoverable, each remedy measured alone on these queries: {listed}."
        if listed
        else "",
        findings=tables.findings(weighed.shown),
        reasons=tuple(
            ReasonInWords(each.title, each.status, each.sentence)
            for each in (*weighed.shown, *weighed.others)
        ),
        others=weighed.in_a_line,
        every_finding=tables.findings(weighed.others),
        plots=tuple(
            _plots(
                one,
                diagnosed.failed.get((one.candidate, one.collection)),
                found.metric,
                found.topics_of(one.collection),
            )
        ),
        groups=tuple(_groups(one, found.metric, texts, tried)),
        looked_in=f"Clusters were searched in {one.neutral}. {one.detectable}",
        space=tables.space(one.space) if one.space else None,
        space_sentences=one.space.sentences if one.space else [],
        training=f"{training.source} ({training.pairs:,} pairs)" if training else "",
        training_sentences=training.sentences if training else [],
    )


def _plots(
    one: CandidateDiagnosis, failed: Failed | None, metric: str, topics: Sequence[Topic]
) -> Iterator[Plot]:
    odds = draw_odds(one.findings)
    if odds.data:
        yield Plot(
            "odds", "Which reasons distinguish misses from hits", odds_caption(one.findings), odds
        )
    if failed is not None:
        yield from plots.losses(one, failed, metric, topics)
        yield from plots.flow(one, failed)


def _groups(
    one: CandidateDiagnosis, metric: str, texts: CollectionTexts, tried: Mapping[Lever, str]
) -> Iterator[Group]:
    for mode, title in MODES.items():
        mine = [cluster for cluster in one.clusters if cluster.mode == mode]
        if mine:
            yield Group(
                title.format(reference=mine[0].reference),
                tables.clusters(one, mode, metric),
                tuple(_shown(cluster, one, metric, texts, tried) for cluster in mine),
            )


def _shown(
    cluster: FailureCluster,
    one: CandidateDiagnosis,
    metric: str,
    texts: CollectionTexts,
    tried: Mapping[Lever, str],
) -> Shown:
    return Shown(
        key=cluster.key,
        about=tables.name(cluster),
        advice=tables.advice(cluster, one, metric, tried=tried),
        details=tuple(tables.details(cluster, one)),
        examples=tuple(
            Example(each.role, *tables.exemplar(each, cluster, texts, length=_TEXT))
            for each in cluster.exemplars
        ),
    )


def _doubts(health: DataHealth, texts: CollectionTexts) -> Doubts:
    return Doubts(
        title=health.collection,
        bounds=tables.bounds(health),
        sentences=list(tables.health(health)),
        unjudged=tuple(
            Asked(
                f"{each.query}: {tables.beginning(texts.queries, each.query, _TEXT)}",
                f"{each.document}: {tables.beginning(texts.documents, each.document, _TEXT)}",
                each.why,
            )
            for each in health.unjudged[:_UNJUDGED]
        ),
    )
