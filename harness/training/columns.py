"""Columns: the names that the field gives to the columns of training data, and their values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from harness.collection.reading import BrokenInput, Record, excerpt, text_of

# Our name of a column comes first, then what it is called elsewhere. Case does not count.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "query": ("query", "anchor", "question"),
    "document": ("document", "positive", "pos", "answer", "passage", "response", "text"),
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
_NEGATIVE = re.compile(r"(hard_)?neg(ative)?_[0-9]+")


def find_columns(wanted: Iterable[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns that hold what is wanted, by our name; one that is absent has none.

    Only "negative" may have several.

    >>> find_columns(["query", "negative"], ["Question", "negative_1", "negative_2"])
    {'query': ['Question'], 'negative': ['negative_1', 'negative_2']}
    """
    lowered = {name.lower(): name for name in reversed(names)}
    found = {
        name: [lowered[other] for other in _NAMES[name] if other in lowered][:1] for name in wanted
    }
    if "negative" in found:
        more = [name for low, name in lowered.items() if _NEGATIVE.fullmatch(low)]
        found["negative"] = sorted({*found["negative"], *more}, key=list(names).index)
    return found


def absent(name: str, names: Iterable[str]) -> str:
    """Return the sentence for a column that is not there under any of its names."""
    others = [f"'{other}'" for other in _NAMES[name][1:]]
    also = f" (or {', '.join(others)})" if others else ""
    got = ", ".join(repr(other) for other in names) or "none"
    return f"no column '{name}'{also}, got {got}. Rename the column to '{name}'."


def text_at(row: Record, name: str, broken: BrokenInput) -> str:
    """Return a text; one that is absent is empty."""
    return "" if row.values.get(name) is None else text_of(row, name, broken)


def texts_at(row: Record, name: str, broken: BrokenInput) -> list[str]:
    """Return a text, or each text of a list."""
    value = row.values.get(name)
    if not isinstance(value, list):
        return [text_at(row, name, broken)]
    return [text_at(row._replace(values={name: item}), name, broken) for item in value]


def number_at(
    row: Record, name: str, broken: BrokenInput, *, least: float = -math.inf, most: float = math.inf
) -> float:
    """Return a number within its range; a problem is noted otherwise."""
    value = row.values.get(name)
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        number = math.nan
    if math.isfinite(number) and least <= number <= most:
        return number
    low = f" of {least:g} or more" if math.isinf(most) else f" from {least:g} to {most:g}"
    limits = "" if math.isinf(least) else low
    broken.add(
        row.place,
        f"'{name}' must be a number{limits}, got {excerpt(value)}. Fix or remove the row.",
    )
    return 0.0


def unfolded(row: Record, names: Sequence[str], broken: BrokenInput) -> list[tuple[str, ...]]:
    """Return a row for each way to take one text of every column that holds a list."""
    return list(product(*(texts_at(row, name, broken) for name in names)))
