"""Acronyms: one of query and document has only the short form, the other only the long one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from harness.collection.texts import normalise
from harness.diagnosis.lexicon import Form
from harness.diagnosis.reasons.reason import (
    Proof,
    Reason,
    Signs,
    encode_others,
    encoded,
    encoder,
    look,
    prove,
    search_with,
    with_control,
)
from harness.diagnosis.subject import Queries, Subject
from harness.retrieval.lexical import Bm25Index, LexicalSearch
from harness.runs.run import Run, rank
from harness.stage import Context


def find_acronyms(subject: Subject) -> Signs:
    """Tell where the query abbreviates what the document only writes out, or the reverse.

    Flags: the texts of query and relevant document. The trial changes the query's text.
    """
    known = subject.facts.acronyms

    def see(row: int) -> str | bool | None:
        query = subject.collection.queries[row]
        form = known.abbreviated(query) or known.written_out(query)
        if form is None:
            return None
        asked = _forms(query, form)
        held = _forms(subject.collection.documents[subject.best[row]], form)
        if {asked, held} != {"short", "long"}:
            return False
        if asked == "short":
            return f"The query says {form.short}, the relevant document only '{form.long}'."
        return f"The query says '{form.long}', the relevant document only {form.short}."

    return look(subject, see)


def _forms(text: str, form: Form) -> str:
    """Return which forms a text has: "short", "long", "both" or "none"."""
    short = re.search(rf"\b{form.short}s?\b", text) is not None
    long = form.long in normalise(text)
    return "both" if short and long else "short" if short else "long" if long else "none"


def try_expansion(subject: Subject, signs: Signs, context: Context) -> list[Proof]:
    """Put the other form behind the queries that show it, and behind failed ones that do not."""
    known = subject.facts.acronyms
    rows = with_control(subject, signs)
    texts = []
    for row in rows:
        query = subject.collection.queries[row]
        short = known.abbreviated(query)
        form = short or known.written_out(query)
        other = "" if form is None else form.long if short else form.short
        texts.append(f"{query} ({other})")
    encode = encoder(subject, "query")
    if isinstance(subject.stage, LexicalSearch):
        run = _search_words(subject, subject.stage, rows, texts)
    elif encode is not None and len(rows):
        others = encode_others(encode, texts, what="queries with both forms of acronyms")
        run = search_with(subject, rows, *encoded(subject, context, others))
    else:
        return []
    return [prove(subject, signs, run, change="both forms in the query", rows=rows)]


def _search_words(
    subject: Subject, stage: LexicalSearch, rows: Queries, texts: Sequence[str]
) -> Run:
    """Return what other texts of some queries find by BM25."""
    index = Bm25Index(stage.spec, subject.collection.documents)
    found = []
    for row, values in zip(rows, index.score_all(texts), strict=True):
        if stage.forbidden is not None and stage.forbidden[row] >= 0:
            values[stage.forbidden[row]] = 0
        found.append(np.where(values > 0, values, 0))
    scores = np.array(found).reshape(len(rows), -1)
    documents = np.where(scores > 0, np.arange(scores.shape[1]), -1).astype(np.int32)
    return rank(documents, scores, depth=subject.run.depth)


ACRONYM = Reason(
    key="acronym",
    title="Acronym mismatch",
    says="the query uses an acronym that the relevant document only spells out, or the reverse",
    lever="expansion",
    detect=find_acronyms,
    trial=try_expansion,
    alone=True,
)
