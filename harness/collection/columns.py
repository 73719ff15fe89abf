"""Columns: the names that the field gives to the columns of tables, and which of ours they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from harness.collection.reading import listed
from harness.errors import did_you_mean

# Our name of a column comes first, then what it is called elsewhere, the usual ones first.
NAMES: Mapping[str, tuple[str, ...]] = {
    "query": ("query", "anchor", "question", "search_term", "search_query", "query_text"),
    "document": (
        *("document", "positive", "pos", "answer", "passage", "response", "text"),
        *("document_text", "doc_text", "passage_text", "page_text"),
    ),
    "query_id": ("query_id", "qid", "q_id", "queryid"),
    "document_id": (
        *("document_id", "doc_id", "docid", "docno", "did", "corpus_id", "passage_id", "pid"),
    ),
    "grade": ("grade", "relevance", "rel", "judgement", "judgment", "rating"),
    "rank": ("rank", "position"),
    "negative": ("negative", "neg", "hard_negative", "negative_1"),
    "sentence1": ("sentence1", "sentence_1", "sentence_a", "text1", "question1", "anchor", "query"),
    "sentence2": (
        *("sentence2", "sentence_2", "sentence_b", "text2", "question2", "positive", "document"),
    ),
    "score": ("score", "similarity_score", "similarity", "relatedness_score", "label"),
    "label": ("label", "labels", "gold_label", "is_duplicate"),
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "sentence2"),
    "clicks": ("clicks", "click_count"),
    "impressions": ("impressions", "views"),
    "text": ("text", "sentence", "document", "passage", "content"),
    "split": ("split",),
}
KNOWN_NAMES = frozenset(name for names in NAMES.values() for name in names)
_NEGATIVE = re.compile(r"(hard_)?neg(ative)?_[0-9]+")


def plain(name: object) -> str:
    """Return the name of a column as names are compared: ``Query-ID`` is ``query_id``."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def find_columns(wanted: Iterable[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns that hold what is wanted, by our name; one that is absent has none.

    A name that we do not know has no others. Only "negative" may have several columns.

    >>> find_columns(["query", "negative"], ["Question", "negative_1", "negative_2"])
    {'query': ['Question'], 'negative': ['negative_1', 'negative_2']}
    """
    lowered = {plain(name): name for name in reversed(names)}
    found: dict[str, list[str]] = {}
    for name in wanted:
        exact = [name] if name in names else []
        usual = NAMES.get(name, (plain(name),))
        others = [lowered[other] for other in usual if other in lowered]
        found[name] = (exact or others)[:1]
    if "negative" in found:
        more = [name for low, name in lowered.items() if _NEGATIVE.fullmatch(low)]
        found["negative"] = sorted({*found["negative"], *more}, key=list(names).index)
    return found


def absent(name: str, names: Sequence[str]) -> str:
    """Return the sentence for a column that is not there under any of its names."""
    others = [f"'{other}'" for other in NAMES.get(name, ())[1:]]
    also = f" (or {', '.join(others)})" if others else ""
    hint = did_you_mean(name, names)
    fix = hint if "Did you mean" in hint else f" Rename the column to '{name}'."
    if any(len(str(other).split()) > 3 for other in names):  # texts: the names are missing
        fix = f"{fix} If the first line is a row, write the names of the columns before it."
    return f"no column '{name}'{also}, got {listed(names)}.{fix}"
