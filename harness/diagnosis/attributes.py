"""Attributes: what is true of a query whatever a candidate returns, to look for failures by."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from harness.collection import Collection

Flags = npt.NDArray[np.bool_]

_NUMBER = re.compile(r"\d")
_NEGATION = re.compile(r"\b(?:not|no|without|except|excluding|never|other than)\b|n't\b", re.I)
_ACRONYM = re.compile(r"\b[A-Z][A-Z0-9]{1,6}\b")
_EXTREME = 0.2  # share of the texts that count as short, and as long
_SHORT_QUERY = 200  # characters; a claim or a question, not a whole document as query


def query_attributes(collection: Collection) -> dict[str, Flags]:
    """Return attributes of the queries by name, bool [n_queries]; the words come elsewhere."""
    queries = collection.queries
    judged = collection.judgements
    relevant = (judged.grades >= 1) & (judged.documents >= 0)
    owners, rows = judged.queries[relevant], judged.documents[relevant]
    sizes = np.array([len(text.split()) for text in collection.documents], dtype=np.float64)
    shortest = np.full(len(queries), np.inf)
    np.minimum.at(shortest, owners, sizes[rows])
    counts = np.bincount(owners, minlength=len(queries))
    return {
        **_extremes(np.array([len(text.split()) for text in queries], float), "query"),
        **_extremes(np.where(np.isfinite(shortest), shortest, np.nan), "relevant document"),
        "several relevant documents": counts > 1,
        "a number": _matching(queries, _NUMBER),
        "a negation": _matching(queries, _NEGATION),
        "an acronym": _matching(queries, _ACRONYM),
    }


def document_attributes(texts: tuple[str, ...]) -> dict[str, Flags]:
    """Return attributes of documents by name, bool [n]."""
    sizes = np.array([len(text.split()) for text in texts], dtype=np.float64)
    return dict(_extremes(sizes, "document"))


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


def _extremes(sizes: npt.NDArray[np.float64], what: str) -> Mapping[str, Flags]:
    """Return the shortest and the longest fifth, with the limit in their names."""
    known = sizes[~np.isnan(sizes)]
    if not len(known) or known.min() == known.max():
        return {}
    low, high = np.quantile(known, [_EXTREME, 1 - _EXTREME], method="inverted_cdf")
    return {
        f"a {what} of at most {low:.0f} words": sizes <= low,
        f"a {what} of {high:.0f} words or more": sizes >= high,
    }


def _matching(texts: tuple[str, ...], pattern: re.Pattern[str]) -> Flags:
    return np.array([pattern.search(text) is not None for text in texts], dtype=bool)
