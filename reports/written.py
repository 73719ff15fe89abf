"""Written: the static reports of a results folder, made from what lies in it alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from harness.output.files import add_output
from harness.output.inspection import DOCUMENTS, QUERIES
from reports import diagnosis_tables, gate_view, html, markdown
from reports.decision_view import banner, markdown_below
from reports.diagnosis_tables import CollectionTexts
from reports.failed import read_failed
from reports.lookup import Lookup
from reports.sections import of_grades, sections
from reports.stored import Stored, StoredJudging, missing_tables, read_judging, read_results
from reports.why import Diagnosed


class Written(NamedTuple):
    """Where the reports lie, and a sentence for every file that they leave out."""

    html: Path
    markdown: Path
    unreadable: tuple[str, ...] = ()


def write_reports(folder: Path, *, interactive: bool = False) -> Written:
    """Render what a results folder holds and write ``report.html`` and ``summary.md`` into it.

    Args:
        folder: results.
        interactive: figures can be hovered and zoomed, which takes 4.8 MB.

    Raises:
        HarnessError: exit code 3, there are no results, or another version wrote them; exit code
            4, the folder cannot be written.
    """
    judged = read_judging(folder)
    if judged is not None:
        return _write_judged(judged)
    stored = read_results(folder)
    paths = Written(folder / "report.html", folder / "summary.md", stored.unreadable)
    results, costs = stored.results, stored.costs
    page = html.render(
        results,
        costs,
        stored.manifest,
        diagnosed(stored),
        verdict=banner(stored.decision) if stored.decision else Markup(""),
        more=tuple(sections(stored)),
        unreadable=stored.unreadable,
        interactive=interactive,
    )
    add_output(paths.html, page)
    summary = markdown.render(
        results,
        costs,
        verdicts=list(_verdicts(stored)),
        decision=markdown_below(stored.decision) if stored.decision else "",
    )
    add_output(paths.markdown, summary)
    return paths


def _write_judged(stored: StoredJudging) -> Written:
    """Write the reports of what was judged before it was run."""
    decision, folder = stored.decision, stored.folder
    page = html.render_judged(
        stored,
        verdict=banner(decision) if decision else Markup(""),
        more=tuple(of_grades(stored.gates, stored.judging)),
    )
    verdicts = [
        *([decision.sentence] if decision else []),
        *([gate_view.headline(stored.gates)] if stored.gates and stored.gates.findings else []),
        *stored.judging.sentences,
    ]
    summary = markdown.render_judged(
        stored, verdicts=verdicts, decision=markdown_below(decision) if decision else ""
    )
    paths = Written(folder / "report.html", folder / "summary.md", stored.unreadable)
    add_output(paths.html, page)
    add_output(paths.markdown, summary)
    return paths


def diagnosed(stored: Stored) -> Diagnosed | None:
    """Return the diagnosis with the texts and rows that the page shows of it."""
    diagnosis = stored.diagnosis
    if diagnosis is None:
        return None
    wanted: dict[str, list[str]] = {each.collection: [] for each in diagnosis.data}
    for one in diagnosis.candidates:
        for cluster in one.clusters:
            for each in cluster.exemplars:
                wanted.setdefault(one.collection, []).extend([*each.retrieved, *each.relevant])
    for data in diagnosis.data:
        wanted[data.collection] += [each.document for each in data.unjudged]
    failed = {
        (one.candidate, one.collection): rows
        for one in diagnosis.candidates
        if (rows := read_failed(stored.folder, one.candidate, one.collection)) is not None
    }
    return Diagnosed(diagnosis, _texts(stored.folder, wanted), failed, stored.undiagnosed)


def _texts(folder: Path, wanted: Mapping[str, Sequence[str]]) -> dict[str, CollectionTexts]:
    """Return the queries of collections, and the documents that are wanted."""
    if missing_tables(folder, (QUERIES, DOCUMENTS)):
        return {name: CollectionTexts({}, {}) for name in wanted}
    lookup = Lookup(folder)
    return {
        name: CollectionTexts(lookup.queries(name), lookup.documents(name, ids))
        for name, ids in wanted.items()
    }


def _verdicts(stored: Stored) -> Iterator[str]:
    if stored.decision is not None:
        yield stored.decision.sentence
    if stored.gates is not None and stored.gates.findings:
        yield gate_view.headline(stored.gates)
    if stored.judging is not None:
        yield from stored.judging.sentences
    if stored.diagnosis is not None:
        metric, k = stored.diagnosis.metric, stored.diagnosis.k
        for one in stored.diagnosis.candidates:
            if one.candidate in {stored.results.baseline, stored.stands_out}:
                said = diagnosis_tables.headline(one, metric, k)
                yield f"{one.candidate} on {one.collection}: {said}"
        if stored.undiagnosed:
            yield stored.undiagnosed
