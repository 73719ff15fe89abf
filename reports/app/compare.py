"""Compare: all candidates at once, every pair, and two of them query by query."""

from __future__ import annotations

import numpy as np
import streamlit as st

from reports import facts, formats, plots, reading, tables, tree_figures, wording
from reports.app import links, shown
from reports.app.choice import Choice
from reports.plots import Plot

_ID_PX, _TEXT_PX = 120, 580
_MOST_PAIRS = 30  # candidates; a larger matrix shows nothing


def show(choice: Choice) -> None:
    """Show the page."""
    shown.heading(
        "Compare",
        f"{len(choice.stored.results.candidates)} candidates on {choice.collection}, baseline "
        f"{choice.stored.results.baseline}.",
    )
    _leaderboard(choice)
    _tree(choice)
    if choice.missing:
        shown.notice(
            f"This folder has no {', '.join(choice.missing)}, so queries cannot be shown. Run the "
            "suite again; cached stages are not recomputed.",
            command=choice.command("run"),
        )
        return
    if 3 <= len(choice.stored.results.candidates) <= _MOST_PAIRS:
        shown.section("Every pair")
        shown.plot(plots.every_pair(choice.pairs, choice.collection, metric=choice.metric))
    if choice.has_pair:
        _waterline(choice)
    else:
        shown.notice(choice.alone)
    if len(choice.stored.results.collections) > 1:
        _collections(choice)


def _leaderboard(choice: Choice) -> None:
    results, collection, metric = choice.stored.results, choice.collection, choice.metric
    found = tables.candidates(results, choice.stored.costs, collection, metric=metric)
    scores = reading.scores_of(results, collection, metric)
    names = reading.by_score(scores)
    shown.section(
        "Leaderboard",
        f"{wording.KEY}; {formats.UNKNOWN} not measured; n={scores[names[0]].n:,}. Bars: the mean, "
        "from 0 to 1.",
    )
    shown.table(
        found,
        label=f"Candidates on {collection}: scores, differences from the baseline, costs",
        bars={tables.interval_head(metric): [scores[name].mean for name in names]},
    )
    shown.note(wording.chance(results))
    timings = wording.timings(choice.stored.costs, collection)
    if timings:
        with st.expander("How latency was measured"):
            shown.bullets(timings)
    evidence = tables.evidence(results, collection)
    if evidence.rows:
        with st.expander(f"Evidence for each verdict, in {results.metrics[0]}"):
            shown.table(evidence, label="Evidence for each verdict")
            shown.note(tables.EVIDENCE_KEY)
    unclear = wording.inconclusive(results, collection, role="baseline", metric=metric)
    if unclear:
        with st.expander(f"{len(unclear)} inconclusive against the baseline"):
            shown.bullets(unclear)


def _tree(choice: Choice) -> None:
    results, collection = choice.stored.results, choice.collection
    drawn = list(plots.tree(results, collection))
    if not drawn:
        return
    shown.section("The tree of candidates")
    for plot in drawn:
        shown.plot(plot)
    with st.expander("As a table"):
        shown.table(tables.edges(results, collection), label="What each change did")
        shown.note(wording.MDE)


def _waterline(choice: Choice) -> None:
    pair = {"first": choice.first, "second": choice.second, "metric": choice.metric}
    shown.section(
        f"{choice.second} against {choice.first}, query by query",
        "Click a query to see what both return for it.",
    )
    rows = shown.selectable(plots.waterline(choice.scores, choice.gap, **pair), modes=["points"])
    if rows:
        links.open_query(choice.scores.query_ids[rows[0]])
    with st.expander("Largest losses and gains"):
        values = choice.scores.values_of
        _extremes(choice, values[choice.second] - values[choice.first])
    shown.plot(plots.agreement(choice.scores, **pair))


def _extremes(choice: Choice, differences: np.ndarray) -> None:
    import pandas as pd

    ids = choice.scores.query_ids
    texts = choice.lookup.queries(choice.collection)
    order = np.argsort(differences, kind="stable")
    rows = list(dict.fromkeys([*order[:10].tolist(), *order[-10:].tolist()]))
    frame = pd.DataFrame(
        {
            "difference": [formats.signed(float(differences[row])) for row in rows],
            "query": shown.fitted((ids[row] for row in rows), _ID_PX),
            "text": shown.fitted((texts.get(ids[row], "") for row in rows), _TEXT_PX),
        }
    )
    state = st.dataframe(
        frame,
        hide_index=True,
        key="extremes",
        on_select="rerun",
        selection_mode="single-row",
        alt="Queries with the largest losses and gains",
        column_config={
            "difference": st.column_config.TextColumn(width=90),
            "query": st.column_config.TextColumn(width=_ID_PX),
            "text": st.column_config.TextColumn(width=_TEXT_PX),
        },
    )
    chosen = state["selection"]["rows"]
    if chosen:
        links.open_query(ids[rows[chosen[0]]])


def _collections(choice: Choice) -> None:
    found = {
        collection.name: comparison
        for collection in choice.stored.results.collections
        if (
            comparison := facts.tested(
                choice.stored,
                collection.name,
                choice.metric,
                first=choice.first,
                second=choice.second,
            )
        )
    }
    if found:
        shown.section("On every collection")
        shown.plot(
            Plot(
                "collections",
                f"{choice.second} against {choice.first} on each collection",
                f"Differences in {choice.metric} with 95% intervals.",
                tree_figures.collections(found, metric=choice.metric),
            )
        )
    chunks = tables.chunk_sizes(choice.stored.results, choice.stored.costs)
    if chunks.rows:
        shown.section("Chunk size", tables.CHUNK_KEY)
        shown.table(chunks, label="Chunk size")
    overall = tables.overall(choice.stored.results)
    if overall.rows:
        shown.section("All collections together")
        shown.table(overall, label="All collections together")
    scored = tables.tasks(choice.stored.results)
    if scored.rows:
        shown.section(wording.TASKS, wording.TASKS_NOTE)
        shown.table(scored, label=wording.TASKS)
