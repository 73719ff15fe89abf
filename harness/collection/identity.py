"""Check the ids of a raw collection: what it names twice, what it names and does not have."""

from __future__ import annotations

from collections.abc import Iterator

from harness.collection.problem import Problem, counted, error, warning
from harness.collection.raw import RawCollection, RawJudgements, RawTexts
from harness.collection.texts import visible_id

_TOLERATED_UNKNOWN_SHARE = 0.01


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
        message = f"{part.judgements.file}: {what}. Judge documents with grade 1 or more."
        yield error("no-queries", message, ids=())


def unknown_ids(raw: RawCollection, split: str) -> Iterator[Problem]:
    """Yield the judgements whose query or document does not exist: an error above 1 % of them."""
    part = raw.split(split)
    judged = part.judgements
    yield from _unknown(judged, judged.query_ids, part.queries, noun="query")
    yield from _unknown(judged, judged.document_ids, raw.documents, noun="document")


def invisible_differences(raw: RawCollection, split: str) -> Iterator[Problem]:
    """Yield ids that look alike: they differ in white space, zero-width or composed characters."""
    part = raw.split(split)
    for texts, noun in ((raw.documents, "document"), (part.queries, "query")):
        first: dict[str, str] = {}
        alike = [
            key for key in dict.fromkeys(texts.ids) if first.setdefault(visible_id(key), key) != key
        ]
        if alike:
            twin = first[visible_id(alike[0])]
            what = f"{counted(len(alike), 'id')} that look like another: {alike[0]!r} and {twin!r}"
            fix = f"Give each {noun} one id, and write it alike in all files."
            yield warning(f"invisible-{noun}-id", f"{texts.file}: {what}. {fix}", ids=alike)


def _repeated_ids(texts: RawTexts, *, noun: str) -> Iterator[Problem]:
    first = texts.rows
    if len(first) == len(texts.ids):
        return
    again = [row for row, key in enumerate(texts.ids) if first[key] != row]
    same: list[int] = []
    other: list[int] = []
    for row in again:
        equal = texts.texts[row] == texts.texts[first[texts.ids[row]]]
        (same if equal else other).append(row)
    for rows, report, with_text, fix in (
        (other, error, "another text", "Give each its own id"),
        (same, warning, "the same text", "Remove one of them"),
    ):
        if rows:
            key = texts.ids[rows[0]]
            what = f"{noun} id {key!r} occurs again with {with_text}"
            where = f"first at {texts.place(first[key])}, {counted(len(rows), 'such line')} in all"
            message = f"{texts.place(rows[0])}: {what} ({where}). {fix}."
            yield report(f"repeated-{noun}-id", message, ids=[texts.ids[row] for row in rows])


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
        what = f"{counted(len(rows), 'judgement')} given again. Each counts once"
        ids = [judged.query_ids[row] for row in rows]
        yield warning("repeated-judgement", f"{judged.place(rows[0])}: {what}.", ids=ids)


def _unknown(
    judged: RawJudgements, ids: tuple[str, ...], known: RawTexts, *, noun: str
) -> Iterator[Problem]:
    rows = [row for row, key in enumerate(ids) if key not in known.rows]
    if not rows:
        return
    effect = {
        "query": "these judgements are left out",
        "document": "relevant ones count as never found",
    }[noun]
    share = len(rows) / len(ids)
    size = f"{len(rows):,} of {counted(len(ids), 'judgement')}, {share:.1%}"
    alike = {visible_id(key): key for key in known.rows}
    near = alike.get(visible_id(ids[rows[0]]))
    hint = f", where {near!r} looks like it" if near is not None else ""
    what = f"judges {noun} {ids[rows[0]]!r}, which is not in {known.file}{hint} ({size})"
    fix = f"Add what is missing or remove the lines; until then {effect}."
    report = error if share > _TOLERATED_UNKNOWN_SHARE else warning
    message = f"{judged.place(rows[0])}: {what}. {fix}"
    yield report(f"unknown-{noun}", message, ids=list(dict.fromkeys(ids[row] for row in rows)))
