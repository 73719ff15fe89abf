"""The diagnosis as a terminal shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from harness.diagnosis.values import (
    CandidateDiagnosis,
    DataHealth,
    Diagnosis,
    FailureCluster,
    Lever,
)
from harness.results.values import Results
from reports import diagnosis_tables as tables
from reports import formats
from reports.diagnosis_tables import CollectionTexts
from reports.tables import Table
from reports.terminal import Wrapped

_MODES = {
    "loss": "Failure clusters",
    "difference": "Clusters that lose against {reference}",
    "documents": "Clusters of missed relevant documents",
}
_SHOWN_EXEMPLARS = {"loss": 2, "difference": 2, "documents": 1}
_SHOWN_CLUSTERS = 5  # with examples
_SHOWN_UNJUDGED = 5
_IN_SENTENCES = ("a miss has", "misses with it", "hits with it")
_BAR = 12  # characters of the longest stage


def render(
    diagnosis: Diagnosis, texts: Mapping[str, CollectionTexts], results: Results | None
) -> RenderableType:
    """Return everything that was found; texts of the user are never read as markup.

    Args:
        diagnosis: of a suite.
        texts: by collection.
        results: of its run, for what remedies gained there; None where they are not known.
    """
    parts: list[RenderableType] = []
    for one in diagnosis.candidates:
        tried = tables.tried(results, one) if results is not None else {}
        parts += _candidate(one, diagnosis, texts[one.collection], tried)
    keys = {
        tables.STAGES_KEY: True,
        tables.FINDINGS_KEY: any(one.findings for one in diagnosis.candidates),
        tables.CLUSTERS_KEY: any(one.clusters for one in diagnosis.candidates),
    }
    parts += [Text(f"\n{key}", style="dim") for key, is_needed in keys.items() if is_needed]
    for health in diagnosis.data:
        parts += _health(health, texts[health.collection])
    return Group(*parts)


def _candidate(
    one: CandidateDiagnosis,
    diagnosis: Diagnosis,
    texts: CollectionTexts,
    tried: Mapping[Lever, str],
) -> Iterator[RenderableType]:
    yield Text(f"\n{one.candidate} on {one.collection}", style="bold reverse")
    yield Text(tables.headline(one, diagnosis.metric, diagnosis.k))
    for warning in one.warnings:
        yield Text(f"Warning: {warning}", style="dark_orange3")
    yield _title("Where queries are lost")
    yield _stages(one, diagnosis.k, diagnosis.metric)
    if found := tables.levers(one):
        listed = ", ".join(f"{lever} {formats.signed(points)}" for lever, points in found)
        yield _title("What would help")
        yield Text(f"Recoverable, each remedy measured alone on these queries: {listed}.")
    yield from _findings(one)
    for mode in ("loss", "difference", "documents"):
        yield from _clusters(one, mode, diagnosis.metric, texts, tried)
    yield Text(f"\nClusters were searched in {one.neutral}. {one.detectable}", style="dim")
    if one.space is not None:
        yield _title("The vector space")
        yield from (Text(sentence) for sentence in one.space.sentences)
    if one.training is not None:
        yield _title(f"Training pairs: {one.training.source} ({one.training.pairs:,} pairs)")
        yield from (Text(sentence) for sentence in one.training.sentences)


def _stages(one: CandidateDiagnosis, k: int, metric: str) -> RenderableType:
    cells = tables.stages(one, k, metric)
    lost = sum(max(each.loss, 0) for each in one.stages) or 1.0
    bars = [
        "█" * round(_BAR * max(each.loss, 0) / lost) or ("▏" if each.loss > 0 else "")
        for each in one.stages
    ]
    rows = tuple((*row, bar) for row, bar in zip(cells.rows, bars, strict=True))
    return Wrapped(Table((*cells.columns, "loss"), rows))


def _findings(one: CandidateDiagnosis) -> Iterator[RenderableType]:
    weighed = tables.weighed(one.findings)
    yield _title("Why")
    if not one.findings:
        yield Text(tables.NO_REMEDY)
    if weighed.shown:
        cells = tables.findings(weighed.shown)  # the sentences below say the rest
        yield Wrapped(cells.only(*(each for each in cells.columns if each not in _IN_SENTENCES)))
    for finding in weighed.shown:
        yield Padding(Text(f"{finding.title}: {finding.sentence}"), (0, 0, 0, 2))
    if weighed.others:
        yield Text(weighed.in_a_line, style="dim")


def _clusters(
    one: CandidateDiagnosis,
    mode: str,
    metric: str,
    texts: CollectionTexts,
    tried: Mapping[Lever, str],
) -> Iterator[RenderableType]:
    mine = [cluster for cluster in one.clusters if cluster.mode == mode]
    if not mine:
        if mode == "loss":
            yield _title(_MODES[mode])
            yield Text("No significant cluster.")
        return
    yield _title(_MODES[mode].format(reference=mine[0].reference))
    cells = tables.clusters(one, mode, metric)
    yield Wrapped(cells.only(*(column for column in cells.columns if column != "about")))
    for number, cluster in enumerate(mine):
        yield from _cluster(cluster, one, metric, tried)
        if number < _SHOWN_CLUSTERS:
            yield from _examples(cluster, texts)
    if mine[_SHOWN_CLUSTERS:]:
        keys = ", ".join(cluster.key for cluster in mine[_SHOWN_CLUSTERS:])
        yield Text(f"\nExamples of {keys}: on the page Failures of 'harness app'.", style="dim")


def _cluster(
    cluster: FailureCluster, one: CandidateDiagnosis, metric: str, tried: Mapping[Lever, str]
) -> Iterator[RenderableType]:
    advice = tables.advice(cluster, one, metric, tried=tried)
    lines = [f"{cluster.key}  {tables.name(cluster)}", advice]
    lines += tables.details(cluster, one)
    yield Padding(Text("\n".join(lines)), (1, 0, 0, 2))


def _examples(cluster: FailureCluster, texts: CollectionTexts) -> Iterator[RenderableType]:
    failures = [each for each in cluster.exemplars if each.role != "success"]
    for found in failures[: _SHOWN_EXEMPLARS[cluster.mode]]:
        query, returned, wanted = tables.exemplar(found, cluster, texts)
        grid = RichTable.grid(padding=(0, 1))
        for label, text in (("query", query), ("returned", returned), ("relevant", wanted)):
            grid.add_row(Text(label, style="dim"), Text(text))
        yield Padding(grid, (0, 0, 0, 6))


def _health(health: DataHealth, texts: CollectionTexts) -> Iterator[RenderableType]:
    yield Text(f"\nData quality of {health.collection}", style="bold reverse")
    bounds = tables.bounds(health)
    if bounds.rows:
        yield _title("Score bounds under unjudged documents")
        yield Wrapped(bounds)
    yield from (Text(f"• {sentence}") for sentence in tables.health(health))
    for each in health.unjudged[:_SHOWN_UNJUDGED]:
        lines = (
            f"{each.query}: {tables.beginning(texts.queries, each.query)}",
            f"{each.document}: {tables.beginning(texts.documents, each.document)}",
            each.why,
        )
        yield Padding(Text("\n".join(lines)), (0, 0, 1, 2))


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="italic")
