"""Audit a raw collection: everything about the data that makes scores wrong or doubtful."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain

from harness.collection.identity import blocking_problems, invisible_differences, unknown_ids
from harness.collection.problem import Problem, counted, error, warning
from harness.collection.raw import RawCollection, RawSplit
from harness.collection.repeated import repeated_queries
from harness.collection.texts import has_space

_TRAINING_SPLIT = "train"
_FEWEST_DOCUMENTS = 3


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
        what = f"{counted(len(dropped), 'query', 'queries')} without a relevant document"
        message = f"{part.judgements.file}: {what}, got only grades below 1. They are left out."
        yield warning("no-relevant-document", message, ids=dropped)
    sharing = [other for other in raw.splits.values() if other.queries is part.queries]
    judged_anywhere = {query for other in sharing for query in other.judgements.query_ids}
    unjudged = [query for query in known if query not in judged_anywhere]
    if unjudged:
        what = f"{counted(len(unjudged), 'query', 'queries')} without any judgement"
        message = f"{part.queries.file}: {what}. Judge or remove them; they are left out."
        yield warning("unjudged-query", message, ids=unjudged)


def _empty_texts(raw: RawCollection, split: str) -> Iterator[Problem]:
    queries, documents = raw.split(split).queries, raw.documents
    rows = [row for row in _rows_of_queries(raw.split(split)) if not queries.texts[row].strip()]
    if rows:
        what = f"{counted(len(rows), 'query', 'queries')} with an empty text"
        message = f"{queries.place(rows[0])}: {what}. Write the text or remove the judgements."
        yield error("empty-query", message, ids=[queries.ids[row] for row in rows])
    rows = [row for row, text in enumerate(documents.texts) if not text.strip()]
    if rows:
        what = f"{counted(len(rows), 'document')} with an empty text"
        message = f"{documents.place(rows[0])}: {what}. Write the text or remove the document."
        yield warning("empty-document", message, ids=[documents.ids[row] for row in rows])


def _repeated_documents(raw: RawCollection) -> Iterator[Problem]:
    documents = raw.documents
    first: dict[bytes, int] = {}
    again = []
    for row, form in enumerate(documents.normal_forms):
        other = first.setdefault(form, row)
        if form and documents.ids[other] != documents.ids[row]:
            again.append(row)
    if not again:
        return
    twin = documents.ids[first[documents.normal_forms[again[0]]]]
    what = f"{counted(len(again), 'document')} with the text of another"
    example = f"({documents.ids[again[0]]!r} = {twin!r})"
    fix = "Merge their ids, or models lose for returning the unjudged twin."
    message = f"{documents.place(again[0])}: {what} {example}. {fix}"
    yield warning("repeated-document", message, ids=[documents.ids[row] for row in again])


def _queries_that_are_documents(raw: RawCollection, split: str) -> Iterator[Problem]:
    queries, documents = raw.split(split).queries, raw.documents
    twins = dict(zip(reversed(documents.normal_forms), reversed(documents.ids), strict=True))
    rows = [
        row
        for row in _rows_of_queries(raw.split(split))
        if queries.normal_forms[row] and queries.normal_forms[row] in twins
    ]
    if not rows:
        return
    pairs = [(queries.ids[row], twins[queries.normal_forms[row]]) for row in rows]
    what = f"{counted(len(rows), 'query', 'queries')} with the text of a document"
    if all(query == document for query, document in pairs):
        fix = "Set exclude_identical_ids, or each finds itself first."
    else:
        fix = "Remove these documents, or each query finds its own text first."
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
            other.queries.normal_forms[row]: other.queries.ids[row]
            for row in _rows_of_queries(other)
        }
        shared = [row for row in rows if part.queries.normal_forms[row] in theirs]
        if shared:
            twin = theirs[part.queries.normal_forms[shared[0]]]
            size = f"{len(shared):,} of {counted(len(rows), 'query', 'queries')}"
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
        what = f"{size} are relevant in split {_TRAINING_SPLIT!r} too ({shared[0]!r})"
        fix = (
            "A model tuned on it has seen them: compare tuned models on the other queries as well."
        )
        message = f"{raw.split(split).judgements.file}: {what}. {fix}"
        yield warning("document-in-training", message, ids=shared)


def _relevant_forms(raw: RawCollection, split: str) -> dict[bytes, str]:
    """Return one relevant document per distinct text."""
    documents = raw.documents
    relevant: Collection[str] = dict.fromkeys(
        document for judged in raw.split(split).relevant.values() for document in judged
    )
    rows = [documents.rows[document] for document in relevant if document in documents.rows]
    return {documents.normal_forms[row]: documents.ids[row] for row in reversed(rows)}


def _documents_equal_but_for_markup(raw: RawCollection) -> Iterator[Problem]:
    documents = raw.documents
    first: dict[bytes, int] = {}
    again = []
    for row, form in enumerate(documents.bare_forms):
        other = first.setdefault(form, row)
        differs = documents.normal_forms[other] != documents.normal_forms[row]
        if form and differs and documents.ids[other] != documents.ids[row]:
            again.append(row)
    if again:
        twin = documents.ids[first[documents.bare_forms[again[0]]]]
        what = f"{counted(len(again), 'document')} with the text of another but for markup"
        example = f"({documents.ids[again[0]]!r} = {twin!r})"
        fix = "Strip HTML and Markdown and merge their ids, or the unjudged twin counts as wrong."
        message = f"{documents.place(again[0])}: {what} {example}. {fix}"
        yield warning("document-differs-in-markup", message, ids=[documents.ids[r] for r in again])


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
    if len(documents.rows) >= _FEWEST_DOCUMENTS and relevant.issuperset(documents.rows):
        what = f"each of {counted(len(documents.rows), 'document')} is relevant to some query"
        fix = (
            "Nothing else can be found by mistake, so recall and scores are higher than on the "
            "documents that are searched in use. Add those."
        )
        message = f"{documents.file}: {what}. {fix}"
        yield warning("all-documents-relevant", message, ids=list(documents.rows))


def _rows_of_queries(part: RawSplit) -> list[int]:
    """Return the rows of the queries that are kept."""
    return [part.queries.rows[query] for query in part.relevant]
