"""Query: one query, what two candidates return for it, and what they miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import streamlit as st

from harness.errors import HarnessError
from reports import beside, formats, query_figures, scope
from reports.app import cards, links, opened, shown
from reports.app.choice import Choice
from reports.lookup import Ranked
from reports.plots import Plot

_MOST_LISTED, _MOST_DRAWN = 500, 20


@dataclass(frozen=True)
class OpenedQuery:
    """A query with everything that is shown of it.

    Attributes:
        rankings: what A and B return, best first; one where there is one candidate.
        grades: of every judged document of the query, the reader's own before the collection's.
        mine: grades that the reader gave.
        texts: of the documents that are shown.
    """

    query: str
    text: str
    names: tuple[str, ...]
    rankings: tuple[list[Ranked], ...] = field(repr=False)
    grades: Mapping[str, int] = field(repr=False)
    mine: Mapping[str, int] = field(repr=False)
    texts: Mapping[str, str] = field(repr=False)


def show(choice: Choice) -> None:
    """Show the page."""
    shown.heading("Query")
    if choice.missing:
        shown.notice(
            f"This folder has no {', '.join(choice.missing)}, so queries cannot be shown. Run the "
            "suite again; cached stages are not recomputed.",
            command="harness run SUITE",
        )
        return
    query = _chosen(choice)
    if query is None:
        return
    try:
        seen = _look(choice, query)
    except HarnessError as error:
        shown.refused(error)
        return
    cards.question(seen.query, seen.text)
    _standing(choice, seen)
    _changes(choice, seen)
    _rankings(choice, seen)
    _missed(choice, seen)
    _judged(choice)


def _chosen(choice: Choice) -> str | None:
    """Let the reader choose a query: by words, within a scope, by going on and back."""
    scores = choice.scores
    slices = beside.read_slices(choice.folder, choice.collection)
    diagnosed = [
        found
        for name in dict.fromkeys((choice.first, choice.second))
        if (found := choice.stored.diagnosed(name, choice.collection)) is not None
    ]
    scopes = scope.Scopes(
        query_ids=scores.query_ids,
        first=scores.values_of[choice.first],
        second=scores.values_of[choice.second],
        lists=scope.lists(diagnosed, slices),
    )
    texts = choice.lookup.queries(choice.collection)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Search",
            key="find",
            type="search",
            bind="query-params",
            placeholder="words of the query, or its id",
        )
        within = st.selectbox("Within", scopes.names, key="within", bind="query-params")
        held = st.container(width=300)
    queries = scope.matching(scopes.queries(str(within)), texts, words or "")
    asked = st.query_params.get("q", "")
    if asked and asked not in texts:
        shown.notice(f"{choice.collection} has no judged query '{asked}'.", kind="warning")
    if not queries and asked not in texts:
        shown.notice("No query matches. Change the words or the scope.")
        return None
    query = asked if asked in texts and (asked in queries or not queries) else queries[0]
    if asked in texts and not words and asked not in queries:
        query = asked  # a link to a query shows it, also where the scope has moved on
    with held:
        _go_on(query, queries)
    with st.expander(f"{len(queries):,} queries in this scope"):
        _list(choice, queries, texts)
    return query


def _go_on(query: str, queries: list[str]) -> None:
    place = queries.index(query) if query in queries else -1
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        before = st.button(
            "Previous", key="previous", icon=":material/arrow_back:", disabled=place <= 0
        )
        after = st.button(
            "Next",
            key="next",
            icon=":material/arrow_forward:",
            icon_position="right",
            disabled=place + 1 >= len(queries),
        )
        where = (
            f"{place + 1:,} of {len(queries):,}" if place >= 0 else f"not among {len(queries):,}"
        )
        shown.note(where)
    if before or after:
        st.query_params["q"] = queries[place - 1 if before else place + 1]
        st.rerun()


def _list(choice: Choice, queries: list[str], texts: Mapping[str, str]) -> None:
    import pandas as pd

    scores = choice.scores
    rows = {query: row for row, query in enumerate(scores.query_ids)}
    listed = queries[:_MOST_LISTED]
    first, second = scores.values_of[choice.first], scores.values_of[choice.second]
    frame = pd.DataFrame(
        {
            "query": listed,
            "text": [formats.shortened(texts.get(query, ""), 200) for query in listed],
            "A": [float(first[rows[query]]) if query in rows else None for query in listed],
            "B": [float(second[rows[query]]) if query in rows else None for query in listed],
        }
    )
    state = st.dataframe(
        frame,
        hide_index=True,
        key="queries",
        height=260,
        on_select="rerun",
        selection_mode="single-row",
        alt=f"Queries in this scope with the {choice.metric} of A and B",
        column_config={
            side: st.column_config.NumberColumn(format="%.3f", width="small") for side in ("A", "B")
        },
    )
    if len(queries) > len(listed):
        shown.note(f"The first {len(listed):,}; filter by words for others.")
    chosen = state["selection"]["rows"]
    if chosen and listed[chosen[0]] != st.query_params.get("q"):
        links.open_query(listed[chosen[0]], within=str(st.session_state.get("within", "")))


def _look(choice: Choice, query: str) -> OpenedQuery:
    lookup, collection = choice.lookup, choice.collection
    names = (choice.first, choice.second) if choice.has_pair else (choice.first,)
    rankings = tuple(lookup.ranking(name, collection, query) for name in names)
    mine = {
        document: grade
        for (other, document), grade in beside.read_judgements(choice.folder, collection).items()
        if other == query
    }
    grades = {**lookup.judgements(collection, query), **mine}
    first = [ranked for ranking in rankings for ranked in ranking[: choice.k]]
    ids = [each for ranked in first for each in (ranked.document, ranked.passage) if each]
    return OpenedQuery(
        query=query,
        text=lookup.queries(collection).get(query, ""),
        names=names,
        rankings=rankings,
        grades=grades,
        mine=mine,
        texts=lookup.documents(collection, [*ids, *grades]),
    )


def _standing(choice: Choice, seen: OpenedQuery) -> None:
    """Show what each candidate scores here, and what the diagnosis says of it."""
    scores = choice.scores
    row = scores.query_ids.index(seen.query) if seen.query in scores.query_ids else None
    for side, name in zip(("A", "B"), seen.names, strict=False):
        value = (
            formats.mean(float(scores.values_of[name][row])) if row is not None else formats.UNKNOWN
        )
        found = opened.failed(choice.folder, name, choice.collection)
        diagnosed = choice.stored.diagnosed(name, choice.collection)
        cards.outcome(
            f"{side}: {name}", f"{choice.metric} {value}", found, diagnosed, query=seen.query
        )


def _changes(choice: Choice, seen: OpenedQuery) -> None:
    if len(seen.names) < 2:
        return
    ranks = [{ranked.document: ranked.rank for ranked in ranking} for ranking in seen.rankings]
    relevant = [document for document, grade in seen.grades.items() if grade >= 1]
    first = [ranked.document for ranking in seen.rankings for ranked in ranking[: choice.k]]
    places = [
        query_figures.RankPair(
            document=document,
            title=seen.texts.get(document, "") or document,
            first=ranks[0].get(document),
            second=ranks[1].get(document),
            grade=seen.grades.get(document),
        )
        for document in dict.fromkeys([*first, *relevant])
    ]
    with st.expander("Rank changes", expanded=choice.k <= 10):
        k = min(choice.k, _MOST_DRAWN)
        drawn = query_figures.rank_changes(places, names=(choice.first, choice.second), k=k)
        shown.plot(
            Plot(
                "changes",
                f"Ranks of the documents: {choice.first} left, {choice.second} right",
                f"Relevant documents are bold; those beyond the top {k} are below, with ranks.",
                drawn,
            )
        )


def _rankings(choice: Choice, seen: OpenedQuery) -> None:
    columns = st.columns(len(seen.names), gap="medium")
    for side, (column, name, ranking) in enumerate(
        zip(columns, seen.names, seen.rankings, strict=True)
    ):
        with column:
            shown.section(f"{'AB'[side]}: {name}")
            if not ranking:
                shown.notice(f"{name} returned nothing for this query; it scores 0.")
            for ranked in ranking[: choice.k]:
                other = _other_rank(seen, side, ranked.document)
                cards.document(
                    seen,
                    ranked.document,
                    rank=ranked.rank,
                    score=ranked.score,
                    other=other,
                    terms=ranked.terms,
                    passage=ranked.passage,
                )
                _judge(choice, seen, ranked.document, place=f"{side}")


def _other_rank(seen: OpenedQuery, side: int, document: str) -> str:
    if len(seen.rankings) < 2:
        return ""
    other = 1 - side
    ranks = {ranked.document: ranked.rank for ranked in seen.rankings[other]}
    where = f"rank {ranks[document]}" if document in ranks else "not in the stored list"
    return f"{where} in {'AB'[other]}"


def _missed(choice: Choice, seen: OpenedQuery) -> None:
    """Show relevant documents that a candidate does not have among its first k."""
    ranks = [{ranked.document: ranked.rank for ranked in ranking} for ranking in seen.rankings]
    relevant = [document for document, grade in seen.grades.items() if grade >= 1]
    missed = [
        document
        for document in relevant
        if any(mine.get(document, choice.k + 1) > choice.k for mine in ranks)
    ]
    outside = choice.lookup.outside(choice.collection, seen.query)
    if not missed and not outside:
        return
    shown.section(
        "Relevant and missed",
        f"Judged relevant, but in the top {choice.k} of neither A nor B.",
    )
    for document in missed:
        where = ", ".join(
            f"{'AB'[side]} rank {mine[document]}"
            if document in mine
            else f"{'AB'[side]} beyond its stored list"
            for side, mine in enumerate(ranks)
        )
        cards.document(seen, document, rank=None, score=None, other=where)
        _judge(choice, seen, document, place="missed")
    if outside:
        shown.note(f"{outside} more relevant documents are not in the corpus.")
    for name in seen.names:
        cards.evidence(name, choice.stored.diagnosed(name, choice.collection), seen.query)


def _judge(choice: Choice, seen: OpenedQuery, document: str, *, place: str) -> None:
    """Let the reader say that a judgement is wrong, or that a document is relevant."""
    grade = seen.grades.get(document)
    offers: list[tuple[str, str, int | None]] = []
    if grade is None or grade < 1:
        offers.append(("Relevant", ":material/check:", 1))
    if grade is None or grade >= 1:
        offers.append(("Not relevant", ":material/close:", 0))
    if document in seen.mine:
        offers.append(("Undo", ":material/undo:", None))
    with st.container(horizontal=True, gap="xsmall"):
        for label, icon, given in offers:
            key = f"judge-{place}-{document}-{given}"
            if st.button(label, key=key, type="tertiary", icon=icon):
                _store(choice, seen.query, document, given)


def _store(choice: Choice, query: str, document: str, grade: int | None) -> None:
    try:
        if grade is None:
            beside.forget(choice.folder, choice.collection, query, document)
        else:
            judgement = beside.Judgement(query, document, grade)
            beside.store_judgement(choice.folder, choice.collection, judgement)
    except HarnessError as error:
        shown.refused(error)
        return
    st.rerun()


def _judged(choice: Choice) -> None:
    """Offer the reader's judgements as the table that a suite reads back."""
    found = beside.read_judgements(choice.folder, choice.collection)
    if not found:
        return
    path = beside.judgements_file(choice.folder, choice.collection)
    shown.section(
        f"Your judgements: {len(found):,}",
        "Stored beside the results; not used for scores until the suite names the file.",
    )
    st.download_button(
        "Download as CSV",
        beside.as_csv(found),
        file_name=path.name,
        mime="text/csv",
        on_click="ignore",
        icon=":material/download:",
    )
    shown.notice(
        "To score with them, add to the suite:",
        command=f'[collections.{choice.collection}]\njudgements = "{path}"',
    )
