"""Sums: values that are all finite, and sums that do not depend on their order."""

from __future__ import annotations

import numpy as np

from harness.arrays import Counts, Values

# Sums of the same numbers in another order differ by about 1e-16 of the sum of their sizes.
SAME = 1e-10
EXACT_BITS = 52  # integers up to 2^53 are exact in float64


def finite(values: Values) -> Values:
    """Return per-query values as float64, at least one of them and all finite.

    Raises:
        ValueError: no query, or a value that is NaN or infinite.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("no query to compute statistics of")
    if not np.isfinite(values).all():
        raise ValueError("a per-query value is NaN or infinite")
    return values


def column_sums(columns: Values) -> Values:
    """Return the sum of each column; the other columns do not change the order of summation."""
    sums: Values = np.ascontiguousarray(columns.T).sum(axis=1)
    return sums


def on_grid(columns: Values, sizes: Values, *, bits: int = EXACT_BITS) -> tuple[Values, Counts]:
    """Round each column to whole multiples of a power of two, as integers held in float64.

    Products of matrices are summed in an order that depends on the BLAS library and its threads.
    Sums of integers below 2^53 are exact in any order, so they are bit-identical everywhere. The
    rounding is below n / 2^`bits` of a column's sum, far less than a query's value is known to.

    Args:
        columns: float64 [n_units, n_columns].
        sizes: float64 [n_units], at least 1; what the column may be multiplied by later.
        bits: the sum of sizes * |integers| stays below 2^(bits + 1).

    Returns:
        The integers, and the exponent of each column: column = integers * 2^-exponent.
    """
    total = column_sums(np.abs(columns) * sizes[:, None])
    exponents = bits - np.frexp(total)[1].astype(np.int64)
    return np.rint(np.ldexp(columns, exponents)), exponents
