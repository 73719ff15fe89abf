"""Columns: the values of the columns of training data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

from harness.collection.reading import BrokenInput, Record, excerpt, number_of, text_of


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
    number = number_of(value)
    if number is not None and least <= number <= most:
        return number
    low = f" of {least:g} or more" if math.isinf(most) else f" from {least:g} to {most:g}"
    limits = "" if math.isinf(least) else low
    what = f"'{name}' must be a number{limits}, got {excerpt(value)}. Fix or remove the row."
    broken.add(row.file, what, line=row.line, cause=f"{name} no number")
    return 0.0


def unfolded(row: Record, names: Sequence[str], broken: BrokenInput) -> list[tuple[str, ...]]:
    """Return a row for each way to take one text of every column that holds a list."""
    return list(product(*(texts_at(row, name, broken) for name in names)))
