"""Gates and data: what blocks a change, what so many queries can show, and what the data are."""

from __future__ import annotations

import streamlit as st

from harness.errors import HarnessError, counted
from harness.gates.report import GateReport, State
from reports import diagnosis_tables, downloads, formats, gate_view, plots, tables, wording
from reports.app import links, shown
from reports.app.choice import Choice

_USUAL_SD, _LEAST_SD = 0.25, 0.001
_USUAL_QUERIES, _FEWEST = 300, 2
_MOST_LISTED = 200
_QUEUE_PX = {  # fits a page of 900 pixels
    "query": 100,
    "text": 190,
    "document": 110,
    "best rank": 75,
    "likelihood": 80,
    "why": 245,
}
_QUEUE_ROW_PX, _QUEUE_LINES = 92, 4  # in which a reason stands
_MOST_TURNED = 5


def show(choice: Choice) -> None:
    """Show the page."""
    shown.heading("Gates and data")
    _gates(choice)
    _planner(choice)
    _history(choice)
    _data(choice)
    _downloads(choice)


def _gates(choice: Choice) -> None:
    report = choice.stored.gates
    if report is None:
        shown.section("Gates")
        shown.notice(
            "No gate was evaluated on these results. A gate passes, fails, or is inconclusive if "
            "the queries are too few.",
            command=f"harness baseline save {choice.suite}\n{choice.command('gate')}",
        )
        return
    places = {finding.collection for finding in report.findings}
    on = f" All on {places.pop()}." if len(places) == 1 else ""
    shown.section(gate_view.headline(report), f"Differences: candidate minus stored baseline.{on}")
    if report.findings:
        found, _ = gate_view.table(report).without_same("collection")
        shown.table(found, label="Gates with their verdicts")
        shown.bullets(gate_view.answers(report))
    else:
        shown.notice("The suite has no gates.")
    _lost(report)
    _provenance(choice, report)


def _lost(report: GateReport) -> None:
    for finding in report.findings:
        if finding.worst and finding.state is State.FAIL:
            shown.note(f"Largest losses in {finding.place}; click one to open it.")
            with st.container(horizontal=True):
                for lost in finding.worst:
                    said = f"{lost.query}: {lost.baseline:.3f} → {lost.candidate:.3f}"
                    key = f"lost-{finding.place}-{finding.collection}-{lost.query}"
                    if st.button(shown.plain_label(said), key=key):
                        links.open_query(lost.query)


def _provenance(choice: Choice, report: GateReport) -> None:
    """Show where the baseline of the gates comes from, if its file is where it usually lies."""
    from harness.gates import baseline_path
    from harness.gates.baseline import read_baseline

    path = baseline_path(report.suite, None)
    if not path.is_file():
        shown.note(
            f"Baseline: {report.baseline}. Its date is unknown: {path.parent}/ of the folder where "
            "the app was started does not hold its file."
        )
        return
    try:
        about = read_baseline(path, suite_file=choice.suite).about
    except HarnessError as error:
        shown.refused(error)
        return
    spread = about.sd.get(choice.collection, {}).get(choice.metric)
    said = f"; sd of differences in {choice.metric} {formats.mean(spread)}" if spread else ""
    shown.note(
        f"Baseline: {about.candidate.name} ({about.candidate.change}), stored {about.date}{said}; "
        f"{counted(len(about.history), 'earlier baseline')}."
    )


@shown.part
def _planner(choice: Choice) -> None:
    """Show what a number of queries can detect; only this part runs again."""
    shown.section(
        "How many queries are needed?",
        "To detect a true difference with power 0.80, by one two-sided test at 0.05.",
    )
    gap = choice.gap if choice.has_pair and not choice.missing else None
    sd = round(gap.sd, 3) if gap is not None and gap.sd >= _LEAST_SD else _USUAL_SD
    n = max(gap.n, _FEWEST) if gap is not None else _USUAL_QUERIES
    with st.container(horizontal=True):
        queries = st.number_input(
            "Judged queries",
            min_value=_FEWEST,
            max_value=1_000_000,
            value=n,
            step=50,
            key="planned",
            bind="query-params",
        )
        spread = st.number_input(
            "Standard deviation of per-query differences",
            min_value=_LEAST_SD,
            max_value=1.0,
            value=sd,
            step=0.01,
            format="%.3f",
            key="spread",
            bind="query-params",
        )
    if gap is not None:
        shown.note(f"From {choice.second} against {choice.first}: sd {formats.mean(gap.sd)}.")
    shown.plot(
        plots.planner(
            choice.stored.results, sd=float(spread), queries=int(queries), metric=choice.metric
        )
    )


def _history(choice: Choice) -> None:
    shown.section("Over time")
    drawn = list(plots.history(choice.stored, choice.collection, (choice.first, choice.second)))
    for plot in drawn:
        shown.plot(plot)
    if not drawn:
        runs = len(choice.stored.history)
        shown.notice(
            "One run is recorded: a history needs a second one with other scores."
            if runs == 1
            else f"All {runs} recorded runs have the same scores, so there is nothing to plot."
        )


def _data(choice: Choice) -> None:
    results, collection = choice.stored.results, choice.collection
    shown.section("Data")
    shown.table(tables.collections(results), label="Collections")
    [found] = [each for each in results.collections if each.name == collection]
    if found.warnings:
        shown.bullets(found.warnings, head=f"Audit warnings about {collection}")
    else:
        shown.note(f"No audit warnings about {collection}.")
    cuts = tables.cuts(results)
    if cuts.rows:
        shown.table(cuts, label="Texts truncated at the model's limit")
    others = [warning for warning in wording.warnings(results) if warning in results.warnings]
    shown.bullets(others, head="Candidates")
    _health(choice)


def _health(choice: Choice) -> None:
    health = choice.stored.health(choice.collection)
    if health is None:
        shown.notice(
            "A diagnosis also shows score bounds under unjudged documents, duplicates and leaks.",
            command=choice.command("diagnose"),
        )
        return
    metric = choice.stored.diagnosis.metric if choice.stored.diagnosis else choice.metric
    for plot in plots.bounds(health, metric=metric):
        shown.plot(plot)
    shown.bullets(
        [each.sentence for each in health.reversible],
        head="Comparisons that unjudged documents could reverse",
        most=_MOST_TURNED,
    )
    others = health.model_copy(update={"reversible": []})
    shown.bullets(diagnosis_tables.health(others), head="Data-quality issues")
    if health.unjudged:
        _queue(choice)


def _queue(choice: Choice) -> None:
    import pandas as pd

    health = choice.stored.health(choice.collection)
    if health is None:
        return
    shown.section(
        "Unjudged documents that may be relevant",
        "The likeliest first. Click one to open its query and judge it.",
    )
    listed = health.unjudged[:_MOST_LISTED]
    table = diagnosis_tables.unjudged(listed, choice.lookup.queries(choice.collection))
    frame = pd.DataFrame(table.rows, columns=list(table.columns))
    for column, lines in (("query", 1), ("text", _QUEUE_LINES), ("document", 1)):
        frame[column] = shown.fitted(frame[column], lines * _QUEUE_PX[column])
    state = st.dataframe(
        frame,
        hide_index=True,
        key="queue",
        height=440,
        row_height=_QUEUE_ROW_PX,
        on_select="rerun",
        selection_mode="single-row",
        alt="Unjudged documents likely to be relevant",
        column_config={
            column: st.column_config.TextColumn(width=width) for column, width in _QUEUE_PX.items()
        },
    )
    chosen = state["selection"]["rows"]
    if chosen:
        links.open_query(listed[chosen[0]].query)


def _downloads(choice: Choice) -> None:
    shown.section("Downloads")
    with st.container(horizontal=True):
        for found in downloads.downloads(choice.folder):
            st.download_button(
                found.label,
                found.content,
                file_name=found.name,
                mime=found.mime,
                key=f"download-{found.path.name}",
                on_click="ignore",
                icon=":material/download:",
            )
