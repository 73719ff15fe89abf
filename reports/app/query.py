"""Query: one query, what two candidates return for it, and what they miss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from harness.errors import HarnessError
from harness.output.inspection import DEPTH
from reports import beside, formats, query_figures, scope
from reports.app import cards, grading, links, opened, shown
from reports.app.choice import Choice
from reports.lookup import Ranked
from reports.plots import Plot

_MOST_LISTED, _MOST_DRAWN, _MOST_RANKS = 500, 20, 5
_ID_PX, _TEXT_PX = 120, 400
_DEPTHS = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class OpenedQuery:
    """A query with everything that is shown of it.

    Attributes:
        k: documents of each ranking that are shown.
        rankings: what A and B return, best first; one where there is one candidate.
        ranks: of documents in each, from 1: those of the rankings, and where a diagnosis knows it
            that of an only relevant document beyond them.
        grades: of every judged document of the query, the reader's own before the collection's.
        mine: grades that the reader gave.
        texts: of the documents that are shown.
    """

    query: str
    text: str
    names: tuple[str, ...]
    k: int
    rankings: tuple[list[Ranked], ...] = field(repr=False)
    ranks: tuple[Mapping[str, int], ...] = field(repr=False)
    grades: Mapping[str, int] = field(repr=False)
    mine: Mapping[str, int] = field(repr=False)
    texts: Mapping[str, str] = field(repr=False)

    @property
    def relevant(self) -> list[str]:
        """Documents that are judged relevant."""
        return [document for document, grade in self.grades.items() if grade >= 1]

    def place(self, side: int, document: str) -> str:
        """Return where a document stands in a ranking, in words."""
        rank = self.ranks[side].get(document)
        name = "AB"[side]
        if rank is None:
            return f"not in {name}'s top {len(self.rankings[side]):,}"
        return f"rank {rank:,} in {name}"


def show(choice: Choice) -> None:
    """Show the page."""
    shown.heading("Query")
    if choice.missing:
        shown.notice(
            f"This folder has no {', '.join(choice.missing)}, so queries cannot be shown. Run the "
            "suite again; cached stages are not recomputed.",
            command=choice.command("run"),
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
    grading.stored(choice)


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
        within = st.selectbox(
            "Within", scopes.names, key="within", bind="query-params", on_change=_from_the_top
        )
        order = st.selectbox(
            "Sort by", scope.ORDERS, key="sort", bind="query-params", on_change=_from_the_top
        )
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


def _from_the_top() -> None:
    """Show the first query of a new scope or order."""
    st.query_params.pop("q", None)


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
            "query": shown.fitted(listed, _ID_PX),
            "text": shown.fitted((texts.get(query, "") for query in listed), _TEXT_PX),
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
            "query": st.column_config.TextColumn(width=_ID_PX),
            "text": st.column_config.TextColumn(width=_TEXT_PX),
            "A": st.column_config.NumberColumn(format="%.3f", width=70),
            "B": st.column_config.NumberColumn(format="%.3f", width=70),
            "difference": st.column_config.NumberColumn(format="%+.3f", width=90),
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
    judged = lookup.judgements(collection, query)
    first = [ranked for ranking in rankings for ranked in ranking[:k]]
    ids = [each for ranked in first for each in (ranked.document, ranked.passage) if each]
    return OpenedQuery(
        query=query,
        text=lookup.queries(collection).get(query, ""),
        names=names,
        k=k,
        rankings=rankings,
        ranks=tuple(
            _ranks(choice, name, ranking, query, judged)
            for name, ranking in zip(names, rankings, strict=True)
        ),
        grades={**judged, **mine},
        mine=mine,
        texts=lookup.documents(collection, [*ids, *judged, *mine]),
    )


def _ranks(
    choice: Choice, name: str, ranking: list[Ranked], query: str, judged: Mapping[str, int]
) -> dict[str, int]:
    ranks = {ranked.document: ranked.rank for ranked in ranking}
    relevant = [document for document, grade in judged.items() if grade >= 1]
    best = _best_rank(choice, name, query)
    if len(relevant) == 1 and best > len(ranking):
        ranks.setdefault(relevant[0], best)
    return ranks


def _best_rank(choice: Choice, name: str, query: str) -> int:
    """Return the rank of the first relevant document by the diagnosis; 0 where it says none."""
    found = opened.failed(choice.folder, name, choice.collection)
    row = found.row(query) if found is not None else None
    return int(found.ranks[row]) if found is not None and row is not None else 0


def _standing(choice: Choice, seen: OpenedQuery, side: int) -> None:
    """Show what a candidate scores here, where it has the relevant documents, and why there."""
    scores, name = choice.scores, seen.names[side]
    row = scores.query_ids.index(seen.query) if seen.query in scores.query_ids else None
    value = formats.mean(float(scores.values_of[name][row])) if row is not None else formats.UNKNOWN
    stored = len(seen.rankings[side])
    where = found_at(
        [seen.ranks[side].get(document) for document in seen.relevant],
        stored=stored,
        retrieved=choice.stored.results.depth if stored >= DEPTH else stored,
        best=_best_rank(choice, name, seen.query),
    )
    cards.outcome(
        f"{'AB'[side]}: {name}",
        [f"{choice.metric} {value}", where],
        opened.failed(choice.folder, name, choice.collection),
        choice.stored.diagnosed(name, choice.collection),
        query=seen.query,
    )


def found_at(ranks: Sequence[int | None], *, stored: int, retrieved: int, best: int = 0) -> str:
    """Return where relevant documents stand in a ranking, and how deep it was retrieved.

    >>> found_at([37], stored=100, retrieved=100), found_at([None], stored=100, retrieved=100)
    ('relevant document at rank 37', 'relevant document not among the 100 retrieved')
    >>> found_at([4, 1, None], stored=100, retrieved=1000)
    'relevant documents at ranks 1, 4; 1 of 3 beyond rank 100'
    >>> found_at([197], stored=100, retrieved=100)
    'relevant document at rank 197, beyond the 100 retrieved'

    Args:
        ranks: of the relevant documents, from 1; None where unknown.
        stored: ranks that are known of every document.
        retrieved: documents that the candidate returned; at least as many.
        best: the first of the ranks as a diagnosis has found it, 0 if none has.
    """
    if not ranks:
        return "no document judged relevant"
    known = sorted(rank for rank in ranks if rank is not None)
    absent = len(ranks) - len(known)
    whose = "relevant document" if len(ranks) == 1 else "relevant documents"
    missing = f"beyond rank {stored:,}"
    if stored == retrieved:
        missing = f"not among the {retrieved:,} retrieved"
    if not known and best > stored:  # which of them it is, no table says
        known, absent, whose = [best], 0, f"first of {len(ranks):,} relevant documents"
    if not known:
        return f"{whose} {missing}"
    listed = ", ".join(f"{rank:,}" for rank in known[:_MOST_RANKS])
    more = ", …" if len(known) > _MOST_RANKS else ""
    at = "s" if len(known) > 1 else ""
    deep = f", beyond the {retrieved:,} retrieved" if known[0] > retrieved else ""
    rest = f"; {absent:,} of {len(ranks):,} {missing}" if absent else ""
    return f"{whose} at rank{at} {listed}{more}{deep}{rest}"


def _changes(choice: Choice, seen: OpenedQuery) -> None:
    if len(seen.names) < 2:
        return
    first = [ranked.document for ranking in seen.rankings for ranked in ranking[: seen.k]]
    places = [
        query_figures.RankPair(
            document=document,
            title=seen.texts.get(document, "") or document,
            first=seen.ranks[0].get(document),
            second=seen.ranks[1].get(document),
            grade=seen.grades.get(document),
        )
        for document in dict.fromkeys([*first, *seen.relevant])
    ]
    k = min(seen.k, _MOST_DRAWN)
    drawn = query_figures.rank_changes(
        places,
        names=(choice.first, choice.second),
        stored=(len(seen.rankings[0]), len(seen.rankings[1])),
        k=k,
    )
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
                other = seen.place(1 - side, ranked.document) if len(seen.names) > 1 else ""
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
                    grading.buttons(choice, seen, ranked.document, place=f"{side}")


def _missed(choice: Choice, seen: OpenedQuery) -> None:
    """Show relevant documents that a candidate does not have among its first k."""
    missed = [
        document
        for document in seen.relevant
        if any(ranks.get(document, seen.k + 1) > seen.k for ranks in seen.ranks)
    ]
    outside = choice.lookup.outside(choice.collection, seen.query)
    if not missed and not outside:
        return
    shown.section(
        "Relevant and missed",
        f"Judged relevant, but {' or '.join('AB'[: len(seen.names)])} misses it in its top "
        f"{seen.k}.",
    )
    for document in missed:
        where = ", ".join(seen.place(side, document) for side in range(len(seen.names)))
        with st.container(gap="xxsmall"):
            cards.document(seen, document, rank=None, score=None, other=where)
            grading.buttons(choice, seen, document, place="missed")
    if outside:
        shown.note(f"{outside} more relevant documents are not in the corpus.")
    for name in seen.names:
        cards.evidence(name, choice.stored.diagnosed(name, choice.collection), seen.query)
