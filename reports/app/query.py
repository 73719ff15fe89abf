"""Query: one query, what two candidates return for it, and what they miss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from harness.errors import HarnessError
from harness.output.inspection import DEPTH
from reports import beside, formats, query_figures, scope
from reports.app import cards, links, opened, shown
from reports.app.choice import Choice
from reports.lookup import Ranked
from reports.plots import Plot

_MOST_LISTED, _MOST_DRAWN, _MOST_RANKS = 500, 20, 5
_DEPTHS = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class OpenedQuery:
    """A query with everything that is shown of it.

    Attributes:
        k: documents of each ranking that are shown.
        rankings: what A and B return, best first; one where there is one candidate.
        grades: of every judged document of the query, the reader's own before the collection's.
        mine: grades that the reader gave.
        texts: of the documents that are shown.
    """

    query: str
    text: str
    names: tuple[str, ...]
    k: int
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
    query, k = _chosen(choice)
    if query is None:
        return
    try:
        seen = _look(choice, query, k)
    except HarnessError as error:
        shown.refused(error)
        return
    cards.question(seen.query, seen.text)
    _rankings(choice, seen)
    _missed(choice, seen)
    _changes(choice, seen)
    _judged(choice)


def _chosen(choice: Choice) -> tuple[str | None, int]:
    """Let the reader choose a query, by words, scope, order or going on, and how much is shown."""
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
        order = st.selectbox("Sort by", scope.ORDERS, key="sort", bind="query-params")
        k = st.selectbox("Ranks shown", _DEPTHS, index=1, key="k", bind="query-params", width=110)
    held = st.container()
    queries = scope.matching(scopes.queries(str(within), order=str(order)), texts, words or "")
    asked = st.query_params.get("q", "")
    if asked and asked not in texts:
        shown.notice(f"{choice.collection} has no judged query '{asked}'.", kind="warning")
    if not queries and asked not in texts:
        shown.notice("No query matches. Change the words or the scope.")
        return None, int(k)
    query = asked if asked in texts and (asked in queries or not queries) else queries[0]
    if asked in texts and not words and asked not in queries:
        query = asked  # a link to a query shows it, also where the scope has moved on
    with held:
        _go_on(query, queries)
    with st.expander(f"{len(queries):,} queries in this scope"):
        _list(choice, queries, texts)
    return query, int(k)


def _go_on(query: str, queries: list[str]) -> None:
    place = queries.index(query) if query in queries else -1
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        before = st.button(
            "Previous",
            key="previous",
            icon=":material/arrow_back:",
            disabled=place <= 0,
            shortcut="P",
        )
        after = st.button(
            "Next",
            key="next",
            icon=":material/arrow_forward:",
            icon_position="right",
            disabled=place + 1 >= len(queries),
            shortcut="N",
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
            "A": [float(first[rows[query]]) for query in listed],
            "B": [float(second[rows[query]]) for query in listed],
            "difference": [float(second[rows[query]] - first[rows[query]]) for query in listed],
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
            column: st.column_config.NumberColumn(format="%.3f", width="small")
            for column in frame.columns[2:]
        },
    )
    if len(queries) > len(listed):
        shown.note(f"The first {len(listed):,}; filter by words for others.")
    chosen = state["selection"]["rows"]
    if chosen and listed[chosen[0]] != st.query_params.get("q"):
        held = {key: str(st.session_state[key]) for key in ("within", "sort", "find")}
        links.go("query", {"q": listed[chosen[0]], **held})


def _look(choice: Choice, query: str, k: int) -> OpenedQuery:
    lookup, collection = choice.lookup, choice.collection
    names = (choice.first, choice.second) if choice.has_pair else (choice.first,)
    rankings = tuple(lookup.ranking(name, collection, query) for name in names)
    mine = {
        document: grade
        for (other, document), grade in beside.read_judgements(choice.folder, collection).items()
        if other == query
    }
    grades = {**lookup.judgements(collection, query), **mine}
    first = [ranked for ranking in rankings for ranked in ranking[:k]]
    ids = [each for ranked in first for each in (ranked.document, ranked.passage) if each]
    return OpenedQuery(
        query=query,
        text=lookup.queries(collection).get(query, ""),
        names=names,
        k=k,
        rankings=rankings,
        grades=grades,
        mine=mine,
        texts=lookup.documents(collection, [*ids, *grades]),
    )


def _standing(choice: Choice, seen: OpenedQuery, side: int) -> None:
    """Show what a candidate scores here, where it has the relevant documents, and why there."""
    scores, name = choice.scores, seen.names[side]
    row = scores.query_ids.index(seen.query) if seen.query in scores.query_ids else None
    value = formats.mean(float(scores.values_of[name][row])) if row is not None else formats.UNKNOWN
    ranks = {ranked.document: ranked.rank for ranked in seen.rankings[side]}
    places = [ranks.get(document) for document, grade in seen.grades.items() if grade >= 1]
    cards.outcome(
        f"{'AB'[side]}: {name}",
        [f"{choice.metric} {value}", found_at(places, min(choice.stored.results.depth, DEPTH))],
        opened.failed(choice.folder, name, choice.collection),
        choice.stored.diagnosed(name, choice.collection),
        query=seen.query,
    )


def found_at(ranks: Sequence[int | None], depth: int) -> str:
    """Return where relevant documents stand in a ranking.

    >>> found_at([37], 100), found_at([None], 100)
    ('relevant document at rank 37', 'relevant document not in the first 100')
    >>> found_at([4, 1, None], 100)
    'relevant documents at ranks 1, 4; 1 of 3 not in the first 100'

    Args:
        ranks: of the relevant documents, from 1; None beyond what is stored.
        depth: ranks that are stored.
    """
    found = sorted(rank for rank in ranks if rank is not None)
    absent = len(ranks) - len(found)
    some = "s" if len(ranks) > 1 else ""
    if not found:
        return f"relevant document{some} not in the first {depth:,}" if ranks else "none relevant"
    listed = ", ".join(f"{rank:,}" for rank in found[:_MOST_RANKS])
    more = ", …" if len(found) > _MOST_RANKS else ""
    rest = f"; {absent:,} of {len(ranks):,} not in the first {depth:,}" if absent else ""
    at = "s" if len(found) > 1 else ""
    return f"relevant document{some} at rank{at} {listed}{more}{rest}"


def _changes(choice: Choice, seen: OpenedQuery) -> None:
    if len(seen.names) < 2:
        return
    ranks = [{ranked.document: ranked.rank for ranked in ranking} for ranking in seen.rankings]
    relevant = [document for document, grade in seen.grades.items() if grade >= 1]
    first = [ranked.document for ranking in seen.rankings for ranked in ranking[: seen.k]]
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
    k = min(seen.k, _MOST_DRAWN)
    drawn = query_figures.rank_changes(places, names=(choice.first, choice.second), k=k)
    shown.section("Rank changes")
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
            _standing(choice, seen, side)
            if not ranking:
                shown.notice(f"{name} returned nothing for this query; it scores 0.")
            for ranked in ranking[: seen.k]:
                other = _other_rank(seen, side, ranked.document)
                with st.container(gap="xxsmall"):
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
    if document in ranks:
        return f"rank {ranks[document]} in {'AB'[other]}"
    return f"not in {'AB'[other]}'s top {len(ranks)}"


def _missed(choice: Choice, seen: OpenedQuery) -> None:
    """Show relevant documents that a candidate does not have among its first k."""
    ranks = [{ranked.document: ranked.rank for ranked in ranking} for ranking in seen.rankings]
    relevant = [document for document, grade in seen.grades.items() if grade >= 1]
    missed = [
        document
        for document in relevant
        if any(mine.get(document, seen.k + 1) > seen.k for mine in ranks)
    ]
    outside = choice.lookup.outside(choice.collection, seen.query)
    if not missed and not outside:
        return
    shown.section(
        "Relevant and missed",
        f"Judged relevant, but {' or '.join('AB'[: len(ranks)])} misses it in its top {seen.k}.",
    )
    for document in missed:
        where = ", ".join(
            f"rank {mine[document]} in {'AB'[side]}"
            if document in mine
            else f"not in {'AB'[side]}'s top {len(mine)}"
            for side, mine in enumerate(ranks)
        )
        with st.container(gap="xxsmall"):
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
