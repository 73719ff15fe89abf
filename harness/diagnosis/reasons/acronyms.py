"""Acronyms: the query has the short form, its document only the long one."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from harness.collection.texts import normalise
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial, nothing, sample
from harness.diagnosis.reasons.trials import (
    encode_others,
    encoder,
    prove,
    read_side,
    search_with,
    search_words,
)
from harness.diagnosis.subject import Subject
from harness.lexical import LexicalSearch

_ACRONYM = re.compile(r"\b[A-Z][A-Z0-9]{1,6}\b")


def find_acronyms(subject: Subject) -> Signs | None:
    """Tell where the document writes out what the query abbreviates, and does not abbreviate it."""
    known = subject.facts.acronyms
    eligible, shows = nothing(subject), nothing(subject)
    forms: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero(subject.findable):
        short = _known_acronym(subject.collection.queries[row], known)
        if short is None:
            continue
        eligible[row] = True
        text = subject.collection.documents[subject.best[row]]
        shows[row] = known[short] in normalise(text) and not re.search(rf"\b{short}s?\b", text)
        forms[int(row)] = (short, known[short])
    if not eligible.any():
        return None

    def evidence(row: int) -> str:
        short, long = forms[row]
        return f"The query says {short}, the relevant document only '{long}'."

    return Signs(eligible, shows, subject.missed, evidence)


def _known_acronym(text: str, known: Mapping[str, str]) -> str | None:
    return next((short for short in _ACRONYM.findall(text) if short in known), None)


def try_expansion(subject: Subject, signs: Signs) -> Trial | None:
    """Write the long form behind every acronym of the queries that show it."""
    shown = np.flatnonzero(signs.eligible & signs.shows)
    rows, known = sample(subject, shown), subject.facts.acronyms
    texts = [
        _ACRONYM.sub(
            lambda match: f"{match[0]} ({known[match[0]]})" if match[0] in known else match[0],
            subject.collection.queries[row],
        )
        for row in rows
    ]
    change = "the acronym written out in the query"
    if isinstance(subject.stage, LexicalSearch):
        lexical = subject.stage
        return Trial(
            (),
            lambda: [
                prove(
                    subject,
                    rows,
                    search_words(subject, lexical, rows, texts),
                    change=change,
                    population=len(shown),
                )
            ],
        )
    encode = encoder(subject, "query")
    if encode is None or not len(rows):
        return None
    changed = encode_others(encode, texts, what="queries with acronyms written out")

    def judge() -> list[Proof]:
        run = search_with(subject, rows, read_side(subject, changed))
        return [prove(subject, rows, run, change=change, population=len(shown))]

    return Trial((changed,), judge)


ACRONYM = Reason(
    key="acronym",
    title="Acronym that the document writes out",
    says="the query abbreviates what the relevant document only writes out",
    lever="expansion",
    detect=find_acronyms,
    trial=try_expansion,
)
