"""Audit a raw collection: everything about the data that makes scores wrong or doubtful."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from itertools import chain

import numpy as np

from harness.collection.packed import Bytes, HashIndex, index_of
from harness.collection.problem import NO_QUERIES, NOT_JUDGED, Problem, error, warning
from harness.collection.raw import NO_TEXT, RawCollection, RawJudgements, RawSplit, RawTexts
from harness.collection.texts import has_space, visible_id
from harness.errors import counted

_TRAINING_SPLIT = "train"
_FEWEST_DOCUMENTS = 3
_TOLERATED_UNKNOWN_SHARE = 0.01
_CUTOFF = 10

Grades = Mapping[str, int]  # of each judged document


def audit(raw: RawCollection, split: str) -> tuple[Problem, ...]:
    """Return all problems of one split, errors first.

    Texts are compared as `normalise` writes them.

    Raises:
        HarnessError: the source has no such split.
    """
    found = [
        *blocking_problems(raw, split),
        *unknown_ids(raw, split),
        *_dropped_queries(raw, split),
        *_empty_texts(raw, split),
        *_repeated_documents(raw),
        *_queries_that_are_documents(raw, split),
        *_queries_in_other_splits(raw, split),
        *_documents_of_training(raw, split),
        *repeated_queries(raw, split),
        *_documents_equal_but_for_markup(raw),
        *invisible_differences(raw, split),
        *_ids_with_spaces(raw, split),
        *_only_relevant_documents(raw, split),
        *(warning("reading", note, ids=()) for note in raw.notes),
    ]
    return tuple(sorted(found, key=lambda problem: problem.severity))


def _dropped_queries(raw: RawCollection, split: str) -> Iterator[Problem]:
    """Yield queries that no metric can use."""
    part = raw.split(split)
    judged = dict.fromkeys(part.judgements.query_ids)
    known = part.queries.rows
    dropped = [query for query in judged if query in known and query not in part.relevant]
    if dropped:
        what = f"{counted(len(dropped), 'query')} without a relevant document"
        message = f"{part.judgements.file}: {what}, got only grades below 1. They are left out."
        yield warning("no-relevant-document", message, ids=dropped)
    sharing = [other for other in raw.splits.values() if other.queries is part.queries]
    judged_anywhere = {query for other in sharing for query in other.judgements.query_ids}
    unjudged = [query for query in known if query not in judged_anywhere]
    if unjudged:
        what = f"{counted(len(unjudged), 'query')} without any judgement"
        message = f"{part.queries.file}: {what}. Judge or remove them; they are left out."
        yield warning(NOT_JUDGED, message, ids=unjudged)


def _empty_texts(raw: RawCollection, split: str) -> Iterator[Problem]:
    queries, documents = raw.split(split).queries, raw.documents
    rows = [row for row in _rows_of_queries(raw.split(split)) if not queries.texts[row].strip()]
    if rows:
        what = f"{counted(len(rows), 'query')} with an empty text"
        message = f"{queries.place(rows[0])}: {what}. Write the text or remove the judgements."
        yield error("empty-query", message, ids=[queries.ids[row] for row in rows])
    rows = [row for row, text in enumerate(documents.texts) if not text.strip()]
    if rows:
        what = f"{counted(len(rows), 'document')} with an empty text"
        message = f"{documents.place(rows[0])}: {what}. Write the text or remove the document."
        yield warning("empty-document", message, ids=[documents.ids[row] for row in rows])


def _repeated_documents(raw: RawCollection) -> Iterator[Problem]:
    documents = raw.documents
    again, twin = _twins(documents, documents.by_normal_form)
    if again:
        what = f"{counted(len(again), 'document')} with the text of another"
        example = f"({documents.ids[again[0]]!r} = {twin!r})"
        fix = "Merge their ids, or returning the unjudged twin counts as wrong."
        message = f"{documents.place(again[0])}: {what} {example}. {fix}"
        yield warning("repeated-document", message, ids=[documents.ids[row] for row in again])


def _documents_equal_but_for_markup(raw: RawCollection) -> Iterator[Problem]:
    documents = raw.documents
    if documents.bare_forms is documents.normal_forms:
        return
    by_bare_form = index_of(documents.bare_forms)
    again, twin = _twins(documents, by_bare_form, unlike=documents.normal_forms)
    if again:
        what = f"{counted(len(again), 'document')} that differ from another only in markup"
        example = f"({documents.ids[again[0]]!r} = {twin!r})"
        fix = "Strip HTML and Markdown and merge their ids, or the unjudged twin counts as wrong."
        message = f"{documents.place(again[0])}: {what} {example}. {fix}"
        yield warning("document-differs-in-markup", message, ids=[documents.ids[r] for r in again])


def _twins(
    documents: RawTexts, by_form: HashIndex, *, unlike: Bytes | None = None
) -> tuple[list[int], str]:
    """Return the documents with an earlier one's form under another id, and the first's twin.

    Those without text, or that are equal in `unlike`, too, are left out.
    """
    rows, firsts = by_form.repeated()
    (empty,) = by_form.find(NO_TEXT[None])
    kept = firsts != empty
    if unlike is not None:
        kept &= (unlike[rows] != unlike[firsts]).any(axis=1)
    pairs = zip(rows[kept].tolist(), firsts[kept].tolist(), strict=True)
    found = [(row, other) for row, other in pairs if documents.ids[row] != documents.ids[other]]
    return [row for row, _ in found], documents.ids[found[0][1]] if found else ""


def _queries_that_are_documents(raw: RawCollection, split: str) -> Iterator[Problem]:
    queries, documents = raw.split(split).queries, raw.documents
    asked = np.array(_rows_of_queries(raw.split(split)), dtype=np.int64)
    forms = queries.normal_forms[asked]
    twins = np.where((forms == NO_TEXT).all(axis=1), -1, documents.by_normal_form.find(forms))
    rows = asked[twins >= 0].tolist()
    if not rows:
        return
    same = [documents.ids[twin] for twin in twins[twins >= 0].tolist()]
    pairs = [(queries.ids[row], twin) for row, twin in zip(rows, same, strict=True)]
    what = f"{counted(len(rows), 'query')} with the text of a document"
    if all(query == document for query, document in pairs):
        fix = "Set exclude_identical_ids, or each query retrieves itself first."
    else:
        fix = "Remove these documents, or each query retrieves its own text first."
    example = f"({pairs[0][0]!r} = {pairs[0][1]!r})"
    message = f"{queries.place(rows[0])}: {what} {example}. {fix}"
    yield warning("query-is-document", message, ids=[query for query, _ in pairs])


def _queries_in_other_splits(raw: RawCollection, split: str) -> Iterator[Problem]:
    part = raw.split(split)
    rows = _rows_of_queries(part)
    for name, other in raw.splits.items():
        if name == split:
            continue
        theirs = {
            _form(other.queries, row): other.queries.ids[row] for row in _rows_of_queries(other)
        }
        shared = [row for row in rows if _form(part.queries, row) in theirs]
        if shared:
            twin = theirs[_form(part.queries, shared[0])]
            size = f"{len(shared):,} of {counted(len(rows), 'query')}"
            what = f"{size} are in split {name!r} too ({part.queries.ids[shared[0]]!r} = {twin!r})"
            message = f"{part.judgements.file}: {what}. Keep them in one of the splits."
            ids = [part.queries.ids[row] for row in shared]
            yield warning("query-in-other-split", message, ids=ids)


def _documents_of_training(raw: RawCollection, split: str) -> Iterator[Problem]:
    if split == _TRAINING_SPLIT or _TRAINING_SPLIT not in raw.splits:
        return
    trained = _relevant_forms(raw, _TRAINING_SPLIT)
    ours = _relevant_forms(raw, split)
    shared = [document for form, document in ours.items() if form in trained]
    if shared:
        size = f"{len(shared):,} of {counted(len(ours), 'relevant document')}"
        what = f"{size} are relevant in split {_TRAINING_SPLIT!r} too (for example {shared[0]!r})"
        fix = (
            "A model tuned on it has seen them; compare tuned models on the other queries as well."
        )
        message = f"{raw.split(split).judgements.file}: {what}. {fix}"
        yield warning("document-in-training", message, ids=shared)


def _relevant_forms(raw: RawCollection, split: str) -> dict[bytes, str]:
    """Return one relevant document per distinct text."""
    documents = raw.documents
    relevant: Collection[str] = dict.fromkeys(
        document for judged in raw.split(split).relevant.values() for document in judged
    )
    rows = documents.find(list(relevant))
    return {_form(documents, row): documents.ids[row] for row in rows[rows >= 0].tolist()[::-1]}


def _form(texts: RawTexts, row: int) -> bytes:
    """Return the hash of a normalised text; the empty text's is zeros."""
    return bytes(texts.normal_forms[row])


def _ids_with_spaces(raw: RawCollection, split: str) -> Iterator[Problem]:
    for texts in (raw.split(split).queries, raw.documents):
        ids = [key for key in texts.ids if key and has_space(key)]
        if ids:
            what = f"{counted(len(ids), 'id')} with white space, such as {ids[0]!r}"
            fix = "All are scored; in the run files white space is written as %20."
            yield warning("id-with-space", f"{texts.file}: {what}. {fix}", ids=ids)


def _only_relevant_documents(raw: RawCollection, split: str) -> Iterator[Problem]:
    relevant = set(chain.from_iterable(raw.split(split).relevant.values()))
    documents = raw.documents
    count = len(documents.rows)
    if _FEWEST_DOCUMENTS <= count <= len(relevant) and all(
        map(relevant.__contains__, documents.rows)
    ):
        what = f"each of {counted(len(documents.rows), 'document')} is relevant to some query"
        fix = (
            "Without distractors, recall and scores are higher than in production. Add the other "
            "documents that production searches."
        )
        message = f"{documents.file}: {what}. {fix}"
        yield warning("all-documents-relevant", message, ids=list(documents.rows))


def _rows_of_queries(part: RawSplit) -> list[int]:
    """Return the rows of the queries that are kept."""
    return [part.queries.rows[query] for query in part.relevant]


def repeated_queries(raw: RawCollection, split: str) -> Iterator[Problem]:
    """Yield the queries whose texts are equal but for case and white space.

    Models return about the same for them, so with different judgements none can be right on all:
    the largest mean nDCG@10 of one ranking for the whole group is part of the message.
    """
    part = raw.split(split)
    queries = part.queries
    groups: dict[bytes, list[str]] = {}
    for key in part.relevant:
        form = _form(queries, queries.rows[key])
        if any(form):
            groups.setdefault(form, []).append(key)
    twins = [group for group in groups.values() if len(group) > 1]
    if not twins:
        return
    judged = part.judgements
    grades: dict[str, dict[str, int]] = {key: {} for group in twins for key in group}
    triples = zip(judged.query_ids, judged.document_ids, judged.grades.tolist(), strict=True)
    for query, document, grade in triples:
        if query in grades and grade >= 1:
            grades[query][document] = grade
    other = [group for group in twins if any(grades[key] != grades[group[0]] for key in group)]
    same = [group for group in twins if group not in other]
    if other:
        ids = [key for group in other for key in group]
        best = sum(best_of_one_ranking([grades[key] for key in group]) for group in other)
        what = f"{counted(len(ids), 'query')} with the text of another and other judgements"
        cost = f"no single ranking can score above {best / len(ids):.2f} nDCG@{_CUTOFF} on them"
        fix = f"Merge their ids and judgements: {cost}."
        message = f"{queries.file}: {what} ({ids[1]!r} = {ids[0]!r}). {fix}"
        yield warning("repeated-query", message, ids=ids)
    if same:
        ids = [key for group in same for key in group]
        what = f"{counted(len(ids), 'query')} with the text and judgements of another"
        fix = "Each counts as independent evidence. Remove the duplicates."
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


def blocking_problems(raw: RawCollection, split: str) -> Iterator[Problem]:
    """Yield what makes a collection ambiguous or empty; `build` refuses the errors among it."""
    part = raw.split(split)
    yield from _repeated_ids(raw.documents, noun="document")
    yield from _repeated_ids(part.queries, noun="query")
    yield from _conflicting_judgements(part.judgements)
    yield from _repeated_judgements(part.judgements)
    if not raw.documents.ids:
        message = f"{raw.documents.file}: the corpus is empty. Add documents."
        yield error("empty-corpus", message, ids=())
    if not part.relevant:
        judged = counted(len(part.judgements), "judgement")
        what = f"no query has a relevant document, got {judged}"
        fix = "Judge documents with grade 1 or more."
        if not len(part.judgements):
            fix += " `harness judge SUITE` chooses which, and says what the grades show; "
            fix += "`judgements` of the collection may name its file."
        message = f"{part.judgements.file}: {what}. {fix}"
        yield error(NO_QUERIES, message, ids=())


def unknown_ids(raw: RawCollection, split: str) -> Iterator[Problem]:
    """Yield the judgements whose query or document does not exist: an error above 1% of them."""
    part = raw.split(split)
    judged = part.judgements
    yield from _unknown(judged, judged.query_ids, part.queries, noun="query")
    yield from _unknown(
        judged, judged.document_ids, raw.documents, noun="document", is_written=raw.cut is not None
    )


def invisible_differences(raw: RawCollection, split: str) -> Iterator[Problem]:
    """Yield ids that look alike: they differ in white space, zero-width or composed characters."""
    part = raw.split(split)
    for texts, noun in ((raw.documents, "document"), (part.queries, "query")):
        # Of two that look alike one at least is not as it looks; most corpora have none of these.
        odd = {seen for key in texts.ids if (seen := visible_id(key)) != key}
        first: dict[str, str] = {}
        shown = ((visible_id(key), key) for key in texts.ids) if odd else ()
        pairs = ((first.setdefault(seen, key), key) for seen, key in shown if seen in odd)
        alike = list(dict.fromkeys(key for other, key in pairs if other != key))
        if alike:
            twin = first[visible_id(alike[0])]
            what = f"{counted(len(alike), 'id')} that look like another: {alike[0]!r} and {twin!r}"
            fix = f"Give each {noun} one id, spelled the same in all files."
            yield warning(f"invisible-{noun}-id", f"{texts.file}: {what}. {fix}", ids=alike)


def _repeated_ids(texts: RawTexts, *, noun: str) -> Iterator[Problem]:
    same: list[tuple[int, int]] = []
    other: list[tuple[int, int]] = []
    for row, first in texts.repeated:
        (same if texts.texts[row] == texts.texts[first] else other).append((row, first))
    for rows, report, with_text, fix in (
        (other, error, "another text", "Give each its own id"),
        (same, warning, "the same text", "Remove one of them"),
    ):
        if rows:
            row, first = rows[0]
            what = f"{noun} id {texts.ids[row]!r} occurs again with {with_text}"
            where = f"first at {texts.place(first)}, {counted(len(rows), 'such line')} in all"
            message = f"{texts.place(row)}: {what} ({where}). {fix}."
            yield report(f"repeated-{noun}-id", message, ids=[texts.ids[row] for row, _ in rows])


def _conflicting_judgements(judged: RawJudgements) -> Iterator[Problem]:
    grades = judged.grades.tolist()
    first: dict[tuple[str, str], int] = {}
    rows = []
    for row, pair in enumerate(zip(judged.query_ids, judged.document_ids, strict=True)):
        if grades[first.setdefault(pair, row)] != grades[row]:
            rows.append(row)
    if not rows:
        return
    query, document = judged.query_ids[rows[0]], judged.document_ids[rows[0]]
    before = first[query, document]
    what = (
        f"query {query!r} and document {document!r} are judged {grades[rows[0]]}, and "
        f"{grades[before]} at {judged.place(before)} ({counted(len(rows), 'conflict')} in all)"
    )
    message = f"{judged.place(rows[0])}: {what}. Keep one of the two."
    ids = [judged.query_ids[row] for row in rows]
    yield error("conflicting-judgements", message, ids=ids)


def _repeated_judgements(judged: RawJudgements) -> Iterator[Problem]:
    triples = list(zip(judged.query_ids, judged.document_ids, judged.grades.tolist(), strict=True))
    first = dict(zip(reversed(triples), range(len(triples) - 1, -1, -1), strict=True))
    rows = [row for row, key in enumerate(triples) if first[key] != row]
    if rows:
        what = f"{counted(len(rows), 'duplicate judgement')}. Each counts once"
        ids = [judged.query_ids[row] for row in rows]
        yield warning("repeated-judgement", f"{judged.place(rows[0])}: {what}.", ids=ids)


def _unknown(
    judged: RawJudgements,
    ids: tuple[str, ...],
    known: RawTexts,
    *,
    noun: str,
    is_written: bool = False,
) -> Iterator[Problem]:
    """Yield the judgements of unknown ids; of those that people write, with the nearest known."""
    rows = np.flatnonzero(known.find(ids) < 0).tolist()
    if not rows:
        return
    effect = {
        "query": "these judgements are left out",
        "document": "relevant ones count as never found",
    }[noun]
    share = len(rows) / len(ids)
    size = f"{len(rows):,} of {counted(len(ids), 'judgement')}, {share:.1%}"
    wanted = visible_id(ids[rows[0]])
    near = deque((key for key in known.rows if visible_id(key) == wanted), maxlen=1)
    hint = f", where {near[0]!r} looks like it" if near else ""
    if is_written and not near:
        close = get_close_matches(ids[rows[0]], known.rows, 1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
    what = f"judges {noun} {ids[rows[0]]!r}, which is not in {known.file}{hint} ({size})"
    fix = f"Add what is missing or remove the lines; until then {effect}."
    report = error if share > _TOLERATED_UNKNOWN_SHARE else warning
    message = f"{judged.place(rows[0])}: {what}. {fix}"
    yield report(f"unknown-{noun}", message, ids=list(dict.fromkeys(ids[row] for row in rows)))
