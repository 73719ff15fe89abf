"""Attributes: what is true of a query whatever a candidate returns, to look for failures by."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags
from harness.collection import Collection
from harness.diagnosis.lattice import Attributes, Ordered
from harness.diagnosis.text import ACRONYMS, DIGITS, NEGATIONS

_SHORT_QUERY = 200  # characters; a claim or a question, not a whole document as query


def query_attributes(collection: Collection) -> Attributes:
    """Return attributes of the queries by name; the words come elsewhere."""
    queries = collection.queries
    judged = collection.judgements
    relevant = (judged.grades >= 1) & (judged.documents >= 0)
    owners, rows = judged.queries[relevant], judged.documents[relevant]
    shortest = np.full(len(queries), np.inf)
    np.minimum.at(shortest, owners, _words(collection.documents)[rows])
    shortest[np.isinf(shortest)] = np.nan
    counts = np.bincount(owners, minlength=len(queries)).astype(np.float64)
    return {
        "length of the query": Ordered(_words(queries), "a query of {}", "word"),
        "length of the relevant document": Ordered(shortest, "a relevant document of {}", "word"),
        "number of relevant documents": Ordered(counts, "{}", "relevant document"),
        "a number": _matching(queries, DIGITS),
        "a negation": _matching(queries, NEGATIONS),
        "an acronym": _matching(queries, ACRONYMS),
    }


def document_attributes(texts: tuple[str, ...]) -> Attributes:
    """Return attributes of documents by name."""
    return {"length of the document": Ordered(_words(texts), "a document of {}", "word")}


def head(text: str, *, characters: int = _SHORT_QUERY) -> str:
    """Return the beginning of a text, cut between words: its words stand for what it is about.

    >>> head("one two three", characters=9)
    'one two'
    """
    if len(text) <= characters:
        return text
    return (
        text[: characters + 1].rsplit(maxsplit=1)[0]
        if " " in text[:characters]
        else text[:characters]
    )


def _words(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


def _matching(texts: tuple[str, ...], pattern: re.Pattern[str]) -> Flags:
    return np.array([pattern.search(text) is not None for text in texts], dtype=bool)
