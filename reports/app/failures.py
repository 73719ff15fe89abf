"""Failures: which queries a candidate fails together, why, and what would fix them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from harness.arrays import Indices
from harness.diagnosis.values import CandidateDiagnosis, FailureCluster, Mode
from harness.errors import HarnessError, counted
from reports import (
    beside,
    diagnosis_figures,
    diagnosis_tables,
    drawing,
    formats,
    plots,
    scope,
)
from reports.app import links, opened, shown
from reports.app.choice import Choice
from reports.failed import Failed

_MODES: tuple[Mode, ...] = ("loss", "difference", "documents")
_ABOUT: Mapping[Mode, str] = {
    "loss": "queries on which the candidate loses more than elsewhere",
    "difference": "queries on which it differs more from the other candidate than elsewhere",
    "documents": "relevant documents missed more than elsewhere",
}
_USUAL: Mapping[Mode, str] = {
    "loss": "metric",
    "difference": "difference",
    "documents": "metric",
}
_MOST_LISTED = 200
_ID_PX, _TEXT_PX = 120, 340
_LINE, _LINE_PX, _WRAPS_PX = 32, 18, 65  # characters; Streamlit wraps texts above 64 pixels


def show(choice: Choice) -> None:
    """Show the page."""
    names = list(dict.fromkeys((choice.first, choice.second)))
    shown.heading(
        "Failures", f"On {choice.collection}. Baseline: {choice.stored.results.baseline}."
    )
    if choice.stored.diagnosis is None:
        shown.notice(
            "No diagnosis yet. It shows which queries fail, at which stage, why, and the remedy.",
            command=choice.command("diagnose"),
        )
        return
    if choice.stored.undiagnosed:
        shown.notice(choice.stored.undiagnosed, command=choice.command("diagnose"))
    known = {
        name: found
        for name in names
        if (found := choice.stored.diagnosed(name, choice.collection)) is not None
    }
    if not known:
        diagnosed = [
            f"{one.candidate} on {one.collection}" for one in choice.stored.diagnosis.candidates
        ]
        shown.notice(
            f"The diagnosis covers {', '.join(diagnosed) or 'no candidate'}. Choose one of them as "
            "A or B."
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "Candidate", list(known), index=len(known) - 1, key="of", bind="query-params"
        )
        mode = st.segmented_control(
            "Clusters of",
            _MODES,
            default="loss",
            required=True,
            key="mode",
            bind="query-params",
        )
    found = known[str(name)]
    for warning in found.warnings:
        shown.notice(warning, kind="warning")
    shown.plot(plots.stages(found, list(known.values()), _metric(choice)))
    _explore(choice, found, mode)
    _reasons(choice, found)
    sentences = [*(found.space.sentences if found.space else ())]
    sentences += [*(found.training.sentences if found.training else ())]
    if sentences:
        heads = ["The vector space"] if found.space else []
        heads += [f"{'the' if heads else 'The'} training data"] if found.training else []
        shown.section(" and ".join(heads))
        shown.bullets(sentences)


@shown.part
def _explore(choice: Choice, found: CandidateDiagnosis, mode: Mode) -> None:
    """Show clusters, the map and what is selected; only this part runs again on a click."""
    clusters = [cluster for cluster in found.clusters if cluster.mode == mode]
    shown.section("Clusters", f"{_ABOUT[mode].capitalize()}. Searched in {found.neutral}.")
    failed = opened.failed(choice.folder, found.candidate, choice.collection)
    chosen = _clusters(clusters, found, mode, _metric(choice))
    if mode != "documents" and failed is not None:
        if len(failed.query_ids) < plots.FEWEST_ON_A_MAP:
            _worst(choice, failed)
        else:
            rows = _map(choice, found, failed, clusters, mode, chosen)
            if len(rows):
                _selected(choice, failed, rows, mode)
                return
    if chosen is not None:
        _cluster(choice, found, chosen)


def _worst(choice: Choice, failed: Failed) -> None:
    """List the queries: too few for a map."""
    shown.section(
        f"All {len(failed.query_ids):,} queries, the largest loss first",
        f"A map needs at least {plots.FEWEST_ON_A_MAP} queries.",
    )
    rows = np.argsort(-failed.losses, kind="stable")
    texts = choice.lookup.queries(choice.collection)
    _queries(failed, rows, texts, _metric(choice), key="worst")


def _clusters(
    clusters: Sequence[FailureCluster], found: CandidateDiagnosis, mode: Mode, metric: str
) -> FailureCluster | None:
    import pandas as pd

    if not clusters:
        shown.notice(f"No cluster stands out. {found.detectable}")
        return None
    table = diagnosis_tables.clusters(found, mode, metric)
    frame = pd.DataFrame(table.rows, columns=list(table.columns))
    looks = [diagnosis_figures.cluster_look(number) for number in range(len(clusters))]
    styles = [
        f"background-color: {colour}; color: {drawing.ink_on(colour)}; font-weight: 600"
        for colour, _ in looks
    ]
    asked = st.query_params.get("c", "")
    keys = [cluster.key for cluster in clusters]
    place = keys.index(asked) if asked in keys else 0
    state = st.dataframe(
        frame.style.apply(lambda _: styles, subset=["key"]),
        hide_index=True,
        key=f"clusters-{mode}",
        on_select="rerun",
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [place]}},
        alt=f"Failure clusters of {found.candidate}, the largest impact first",
        row_height=_height(max(map(len, frame["about"]))),
        column_config=_cluster_columns(list(frame.columns)),
    )
    rows = state["selection"]["rows"]
    chosen = clusters[rows[0]] if rows and rows[0] < len(clusters) else clusters[place]
    if st.query_params.get("c", keys[0]) != chosen.key:
        st.query_params["c"] = chosen.key
    shown.note(diagnosis_tables.CLUSTERS_KEY)
    return chosen


def _height(longest: int) -> int | None:
    """Return the height of rows in which the longest text fits; None where a line holds it."""
    lines = -(-longest // _LINE)
    return max(_WRAPS_PX, _LINE_PX * (lines + 1)) if lines > 1 else None


def _cluster_columns(heads: Sequence[str]) -> dict[str, Any]:
    """Return heads and widths with which the table fits a page of 850 pixels."""
    key, about, members, inside, outside, loss, p, impact, stability = heads
    column = st.column_config.TextColumn
    return {
        key: column(width=45),
        about: column(width=233),
        members: column(width=95),
        inside: column("inside", width=60, help=inside),
        outside: column(width=65),
        loss: column(width=95),
        p: column(width=62),
        impact: column(width=65),
        stability: column(width=95),
    }


def _map(
    choice: Choice,
    found: CandidateDiagnosis,
    failed: Failed,
    clusters: Sequence[FailureCluster],
    mode: Mode,
    chosen: FailureCluster | None,
) -> Indices:
    wanted = st.segmented_control(
        "Colour by",
        _colours(choice, has_clusters=bool(clusters)),
        default=_USUAL[mode] if mode == "loss" or choice.has_pair else "metric",
        required=True,
        key=f"colour-{mode}",
        bind="query-params",
    )
    found_map = plots.query_map(
        failed,
        _colouring(choice, failed, found.candidate, wanted or _USUAL[mode]),
        clusters,
        choice.stored.diagnosis.topics_of(choice.collection) if choice.stored.diagnosis else (),
        chosen.key if chosen is not None else "",
    )
    shown_map = found_map._replace(
        key=f"map-{mode}",
        caption=f"{found_map.caption} Lasso points to see what they have in common; double-click "
        "to clear.",
    )
    rows = shown.selectable(shown_map, modes=["points", "box", "lasso"])
    return np.unique(np.array(rows, dtype=np.int64))


def _colours(choice: Choice, *, has_clusters: bool) -> list[str]:
    """Return what the colours of the map can say."""
    compared = choice.has_pair and not choice.missing
    return [
        "metric",
        *(["difference"] if compared else []),
        *(["cluster"] if has_clusters else []),
    ]


def _colouring(
    choice: Choice, failed: Failed, candidate: str, wanted: str
) -> diagnosis_figures.Colouring | None:
    metric = _metric(choice)
    if wanted == "cluster":
        return None
    if wanted == "metric" or not choice.has_pair or choice.missing:
        return diagnosis_figures.metric_colours(1 - failed.losses, metric=metric)
    values = choice.scores.values_of
    other = choice.first if candidate == choice.second else choice.second
    places = {query: row for row, query in enumerate(choice.scores.query_ids)}
    rows = [places[query] for query in failed.query_ids]
    difference = (values[candidate] - values[other])[rows]
    return diagnosis_figures.difference_colours(difference, metric=choice.metric, other=other)


def _selected(choice: Choice, failed: Failed, rows: Indices, mode: Mode) -> None:
    """Show what the selected queries have in common, and let them be saved."""
    texts = choice.lookup.queries(choice.collection)
    known = [texts.get(query, "") for query in failed.query_ids]
    told = scope.describe_selection(1 - failed.losses, rows, known)
    if told is None:
        return
    metric = _metric(choice)
    rest = "" if told.outside is None else f", all others {formats.with_interval(*told.outside)}"
    missed = int(failed.misses[rows].sum())
    shown.section(
        f"{told.n:,} selected queries: {metric} {formats.with_interval(*told.inside)}",
        f"n={told.n:,}{rest}; {counted(missed, 'miss')}. A hand-picked region is no evidence: its "
        "interval ignores the selection.",
    )
    if told.words:
        shown.note(f"Distinctive words: {', '.join(told.words)}.")
    queries = [failed.query_ids[row] for row in rows.tolist()]
    _save(choice, queries)
    order = rows[np.argsort(-failed.losses[rows], kind="stable")]
    _queries(failed, order, texts, metric, key=f"selected-{mode}")


def _save(choice: Choice, queries: Sequence[str]) -> None:
    with st.form("save", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Save these queries as a slice", placeholder="name")
        wanted = st.form_submit_button("Save slice", icon=":material/save:")
    if not wanted:
        return
    try:
        path = beside.save_slice(choice.folder, choice.collection, name or "", queries)
    except HarnessError as error:
        shown.refused(error)
        return
    shown.notice(
        f"Saved {counted(len(queries), 'query')}. To use the slice, add to the suite:",
        command=f'[slices.{path.stem}]\ncollection = "{choice.collection}"\nfile = "{path}"',
    )


def _queries(
    failed: Failed,
    rows: Indices,
    texts: Mapping[str, str],
    metric: str,
    *,
    key: str,
    within: str = "",
) -> None:
    import pandas as pd

    listed = rows[:_MOST_LISTED].tolist()
    queries = [failed.query_ids[row] for row in listed]
    frame = pd.DataFrame(
        {
            "query": shown.fitted(queries, _ID_PX),
            "text": shown.fitted((texts.get(query, "") for query in queries), _TEXT_PX),
            metric: [round(float(1 - failed.losses[row]), 3) for row in listed],
            "stage": [diagnosis_tables.STAGES[failed.stages[row]] for row in listed],
            "rank": [int(failed.ranks[row]) or None for row in listed],
        }
    )
    state = st.dataframe(
        frame,
        hide_index=True,
        key=key,
        height=min(38 + 35 * len(listed), 300),
        on_select="rerun",
        selection_mode="single-row",
        alt="Queries, the largest loss first; a click opens one",
        column_config={
            "query": st.column_config.TextColumn(width=_ID_PX),
            "text": st.column_config.TextColumn(width=_TEXT_PX),
            metric: st.column_config.NumberColumn(format="%.3f", width=80),
            "stage": st.column_config.TextColumn(width=170),
            "rank": st.column_config.NumberColumn(width=60),
        },
    )
    if len(rows) > len(listed):
        shown.note(f"The {len(listed)} with the largest loss.")
    chosen = state["selection"]["rows"]
    if chosen:
        links.open_query(queries[chosen[0]], within=within)


def _cluster(choice: Choice, found: CandidateDiagnosis, cluster: FailureCluster) -> None:
    """Show one cluster: its numbers in a sentence, its reasons, exemplars and queries."""
    metric = _metric(choice)
    shown.section(
        f"{cluster.key}: {diagnosis_tables.name(cluster)}",
        diagnosis_tables.sentence(cluster, metric),
    )
    tried = diagnosis_tables.tried(choice.stored.results, found)
    shown.notice(diagnosis_tables.advice(cluster, found, metric, tried=tried))
    for line in diagnosis_tables.details(cluster, found):
        shown.note(line)
    texts = choice.lookup.queries(choice.collection)
    _exemplars(choice, found, cluster, texts)
    failed = opened.failed(choice.folder, found.candidate, choice.collection)
    if failed is not None and cluster.mode != "documents":
        rows = failed.rows(cluster.members)
        rows = rows[np.argsort(-failed.losses[rows], kind="stable")]
        within = scope.cluster_scope(cluster.key, found.candidate)
        with st.expander(f"All {len(rows):,} queries of {cluster.key}"):
            _queries(failed, rows, texts, metric, key=f"members-{cluster.key}", within=within)


def _exemplars(
    choice: Choice,
    found: CandidateDiagnosis,
    cluster: FailureCluster,
    texts: Mapping[str, str],
) -> None:
    if not cluster.exemplars:
        return
    ids = [
        document
        for exemplar in cluster.exemplars
        for document in (*exemplar.retrieved, *exemplar.relevant)
    ]
    documents = choice.lookup.documents(choice.collection, ids)
    table = diagnosis_tables.exemplars(cluster, diagnosis_tables.CollectionTexts(texts, documents))
    shown.table(table, label=f"Exemplars of {cluster.key}")
    within = (
        "" if cluster.mode == "documents" else scope.cluster_scope(cluster.key, found.candidate)
    )
    with st.container(horizontal=True):
        for number, exemplar in enumerate(cluster.exemplars, start=1):
            if st.button(
                f"Open {number}, {exemplar.role}", key=f"open-{cluster.key}-{exemplar.query}"
            ):
                links.open_query(exemplar.query, within=within)


def _reasons(choice: Choice, found: CandidateDiagnosis) -> None:
    shown.section("Reasons and remedies")
    if not found.findings:
        shown.notice(diagnosis_tables.NO_REMEDY)
        return
    failed = opened.failed(choice.folder, found.candidate, choice.collection)
    for plot in plots.flow(found, failed) if failed is not None else ():
        shown.plot(plot)
    shown.table(diagnosis_tables.findings(found.findings), label="Reasons, misses against hits")
    shown.note(diagnosis_tables.FINDINGS_KEY)


def _metric(choice: Choice) -> str:
    """Return the metric whose loss the diagnosis explains."""
    return choice.stored.diagnosis.metric if choice.stored.diagnosis else choice.metric
