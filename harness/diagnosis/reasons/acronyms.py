"""Acronyms: one of query and document has only the short form, the other only the long one."""

from __future__ import annotations

import re

import numpy as np

from harness.collection.texts import normalise
from harness.diagnosis.acronyms import Form
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial, nothing, with_control
from harness.diagnosis.reasons.trials import (
    encode_others,
    encoder,
    prove,
    read_side,
    search_with,
    search_words,
)
from harness.diagnosis.subject import Subject
from harness.retrieval.lexical import LexicalSearch


def find_acronyms(subject: Subject) -> Signs | None:
    """Tell where the query abbreviates what the document only writes out, or the reverse.

    Flags: the texts of query and relevant document. The trial changes the query's text.
    """
    known = subject.facts.acronyms
    eligible, shows = nothing(subject), nothing(subject)
    forms: dict[int, Form] = {}
    for row in np.flatnonzero(subject.findable):
        query = subject.collection.queries[row]
        form = known.abbreviated(query) or known.written_out(query)
        if form is None:
            continue
        eligible[row] = True
        forms[int(row)] = form
        text = subject.collection.documents[subject.best[row]]
        shows[row] = {_forms(query, form), _forms(text, form)} == {"short", "long"}
    if not eligible.any():
        return None

    def evidence(row: int) -> str:
        short, long = forms[row]
        if _forms(subject.collection.queries[row], forms[row]) == "short":
            return f"The query says {short}, the relevant document only '{long}'."
        return f"The query says '{long}', the relevant document only {short}."

    return Signs(eligible, shows, subject.missed, evidence)


def _forms(text: str, form: Form) -> str:
    """Return which forms a text has: "short", "long", "both" or "none"."""
    short = re.search(rf"\b{form.short}s?\b", text) is not None
    long = form.long in normalise(text)
    return "both" if short and long else "short" if short else "long" if long else "none"


def try_expansion(subject: Subject, signs: Signs) -> Trial | None:
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
    change = "both forms in the query"
    if isinstance(subject.stage, LexicalSearch):
        lexical = subject.stage
        return Trial(
            (),
            lambda: [
                prove(subject, rows, search_words(subject, lexical, rows, texts), change=change)
            ],
        )
    encode = encoder(subject, "query")
    if encode is None or not len(rows):
        return None
    changed = encode_others(encode, texts, what="queries with both forms of acronyms")

    def judge() -> list[Proof]:
        run = search_with(subject, rows, read_side(subject, changed))
        return [prove(subject, rows, run, change=change)]

    return Trial((changed,), judge)


ACRONYM = Reason(
    key="acronym",
    title="Acronym on one side only",
    says="the query abbreviates what the relevant document only writes out, or the reverse",
    lever="expansion",
    detect=find_acronyms,
    trial=try_expansion,
    alone=True,
)
