"""Repeated queries: one question under two ids, and what that costs any ranking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from harness.collection.problem import Problem, counted, warning
from harness.collection.raw import RawCollection

_CUTOFF = 10

Grades = Mapping[str, int]  # of each judged document


def repeated_queries(raw: RawCollection, split: str) -> Iterator[Problem]:
    """Yield the queries whose texts are equal but for case and white space.

    Models return about the same for them, so with different judgements none can be right on all:
    the largest mean nDCG@10 of one ranking for the whole group is part of the message.
    """
    part = raw.split(split)
    queries = part.queries
    groups: dict[bytes, list[str]] = {}
    for key in part.relevant:
        form = queries.normal_forms[queries.rows[key]]
        if form:
            groups.setdefault(form, []).append(key)
    twins = [group for group in groups.values() if len(group) > 1]
    if not twins:
        return
    grades = _grades(raw, split, {key for group in twins for key in group})
    other = [group for group in twins if any(grades[key] != grades[group[0]] for key in group)]
    same = [group for group in twins if group not in other]
    if other:
        ids = [key for group in other for key in group]
        best = sum(best_of_one_ranking([grades[key] for key in group]) for group in other)
        what = (
            f"{counted(len(ids), 'query', 'queries')} with the text of another and other judgements"
        )
        cost = f"one ranking for all scores at most {best / len(ids):.2f} nDCG@{_CUTOFF} on them"
        fix = f"Merge their ids and judgements: {cost}."
        message = f"{queries.file}: {what} ({ids[1]!r} = {ids[0]!r}). {fix}"
        yield warning("repeated-query", message, ids=ids)
    if same:
        ids = [key for group in same for key in group]
        what = f"{counted(len(ids), 'query', 'queries')} with the text and judgements of another"
        fix = "Each counts as evidence of its own. Remove the repetitions."
        message = f"{queries.file}: {what} ({ids[1]!r} = {ids[0]!r}). {fix}"
        yield warning("repeated-query-same", message, ids=ids)


def best_of_one_ranking(judged: list[Grades]) -> float:
    """Return the largest sum of nDCG@10 that one ranking has for queries of these grades.

    Each document gains its grade over the ideal DCG, summed over the queries; the best ranking
    has the largest gains first.

    >>> round(best_of_one_ranking([{"d1": 1}, {"d2": 1}]), 2)
    1.63
    """
    gains: Counter[str] = Counter()
    for grades in judged:
        ideal = _dcg(sorted(grades.values(), reverse=True))
        for document, grade in grades.items():
            gains[document] += grade / ideal  # type: ignore[assignment]  # a sum of shares
    return _dcg([value for _, value in gains.most_common()])


def _dcg(gains: list[int] | list[float]) -> float:
    first = np.array(gains[:_CUTOFF], dtype=np.float64)
    return float((first / np.log2(np.arange(2, len(first) + 2))).sum())


def _grades(raw: RawCollection, split: str, wanted: set[str]) -> dict[str, dict[str, int]]:
    judged = raw.split(split).judgements
    found: dict[str, dict[str, int]] = {key: {} for key in wanted}
    triples = zip(judged.query_ids, judged.document_ids, judged.grades.tolist(), strict=True)
    for query, document, grade in triples:
        if query in wanted and grade >= 1:
            found[query][document] = grade
    return found
