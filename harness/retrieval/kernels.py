"""Kernels: the loops of search on a CPU, compiled by numba and cached on disk.

They release Python's lock, so that threads run them at once. Loops that a compiler can vectorise
are kept apart from those that it cannot, and additions of a condition take the place of branches
that a processor would guess wrongly.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import float32, float64, int32, int64, njit, types

from harness.arrays import Counts, Rows, Values, Vectors

GROUP = 64  # documents that are passed over at once where none of them scores enough
_LEAF = 128  # numbers that numpy adds without halving


def _read(kind: types.Type, dimensions: int) -> types.Array:
    """Return the type of an array that is read alone: one that may be written to fits, too."""
    return types.Array(kind, dimensions, "C", readonly=True)


@njit(float32(float32[::1], float32[::1], int64, int64), nogil=True, cache=True)
def _kth(scores: Vectors, spare: Vectors, count: int, k: int) -> float:
    """Return the k-th largest of the first `count` scores; `spare` is written over."""
    for i in range(count):
        spare[i] = scores[i]
    while True:
        one, two, three = spare[0], spare[count // 2], spare[count - 1]
        pivot = max(min(one, two), min(max(one, two), three))
        above = equal = kept = 0
        for i in range(count):
            above += spare[i] > pivot
            equal += spare[i] == pivot
        if above >= k:
            for i in range(count):
                score = spare[i]
                spare[kept] = score
                kept += score > pivot
        elif above + equal >= k:
            return float(pivot)
        else:
            k -= above + equal
            for i in range(count):
                score = spare[i]
                spare[kept] = score
                kept += score < pivot
        count = kept


@njit(float32(float32[::1], int32[::1], float32[::1], int64, int64), nogil=True, cache=True)
def keep_best(scores: Vectors, rows: Rows, spare: Vectors, count: int, k: int) -> float:
    """Move the k best of `count` entries to the front, in no order.

    Args:
        scores: of the entries.
        rows: of the entries.
        spare: as long; written over.
        count: of the entries, at least k.
        k: entries to keep.

    Returns:
        the least score that is kept.
    """
    least = _kth(scores, spare, count, k)
    above = kept = 0
    for i in range(count):
        above += scores[i] > least
    room = k - above
    for i in range(count):
        score = scores[i]
        tied = (score == least) & (room > 0)
        scores[kept], rows[kept] = score, rows[i]
        room -= tied
        kept += (score > least) | tied
    return least


@njit(
    types.void(
        float32[:, ::1],
        _read(float32, 1),
        int64,
        float32[:, ::1],
        int32[:, ::1],
        int64[::1],
        float32[::1],
        int64,
    ),
    nogil=True,
    cache=True,
)
def consider(
    products: Vectors,
    scales: Vectors,
    first: int,
    scores: Vectors,
    rows: Rows,
    counts: Counts,
    least: Vectors,
    k: int,
) -> None:
    """Enter documents among the best of each query, where they score more than the k-th so far.

    Args:
        products: float32 [q, n], of queries and documents.
        scales: float32 [n], by which a document's products are multiplied.
        first: row of the first document.
        scores: [q, m], of the entries so far; m is at least k + `GROUP`.
        rows: [q, m], of the entries so far.
        counts: int64 [q], how many there are.
        least: float32 [q], the score that a document must exceed.
        k: entries that are kept where there is no room.
    """
    spare = np.empty(scores.shape[1], dtype=np.float32)
    for query in range(len(products)):
        count, bar = counts[query], least[query]
        for start in range(0, products.shape[1], GROUP):
            some = products[query, start : start + GROUP]
            scale = scales[start : start + GROUP]
            enough = 0
            for i in range(len(some)):
                enough += some[i] * scale[i] > bar
            if not enough:
                continue
            if count + GROUP > scores.shape[1]:
                bar = keep_best(scores[query], rows[query], spare, count, k)
                count = k
            for i in range(len(some)):
                score = some[i] * scale[i]
                scores[query, count] = score
                rows[query, count] = first + start + i
                count += score > bar
        counts[query], least[query] = count, bar


@njit(float64(float64[::1]), nogil=True, cache=True)
def _sum_of_leaf(terms: Values) -> float:
    """Return the sum of at most 128 numbers in numpy's order: eight sums beside each other."""
    n = len(terms)
    if n < 8:
        total = -0.0
        for i in range(n):
            total += terms[i]
        return float(total)
    a, b, c, d, e, f, g, h = (
        terms[0], terms[1], terms[2], terms[3], terms[4], terms[5], terms[6], terms[7],
    )  # fmt: skip
    for i in range(8, n - n % 8, 8):
        a += terms[i]
        b += terms[i + 1]
        c += terms[i + 2]
        d += terms[i + 3]
        e += terms[i + 4]
        f += terms[i + 5]
        g += terms[i + 6]
        h += terms[i + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(n - n % 8, n):
        total += terms[i]
    return float(total)


@njit(
    types.void(
        _read(float32, 2),
        _read(float32, 1),
        _read(float32, 2),
        _read(int64, 2),
        _read(int64, 2),
        float64[:, ::1],
    ),
    nogil=True,
    cache=True,
)
def score_rows(
    documents: Vectors,
    divisors: Vectors,
    queries: Vectors,
    rows: Counts,
    leaves: Counts,
    scores: Values,
) -> None:
    """Write the inner product of each query with its own rows, to the bits of numpy's sum.

    Args:
        documents: float32 [n, dim or more].
        divisors: float32 [n], of documents.
        queries: float32 [q, dim].
        rows: int64 [q, m], of documents.
        leaves: of `summation`.
        scores: float64 [q, m].
    """
    terms, sums = np.empty(queries.shape[1]), np.empty(64)
    for query in range(len(rows)):
        asked = queries[query].astype(np.float64)
        for place in range(rows.shape[1]):
            row = rows[query, place]
            document, divisor = documents[row], divisors[row]
            # Products of float32 are exact in float64.
            if divisor == 1:
                for i in range(len(terms)):
                    terms[i] = np.float64(document[i]) * asked[i]
            else:
                for i in range(len(terms)):
                    terms[i] = np.float64(document[i] / divisor) * asked[i]
            open_sums = 0
            for leaf in range(len(leaves)):
                start, size, closed = leaves[leaf, 0], leaves[leaf, 1], leaves[leaf, 2]
                sums[open_sums] = _sum_of_leaf(terms[start : start + size])
                for _ in range(closed):
                    sums[open_sums - 1] += sums[open_sums]
                    open_sums -= 1
                open_sums += 1
            scores[query, place] = sums[0]


def summation(width: int) -> npt.NDArray[np.int64]:
    """Return the order in which numpy sums `width` numbers: halves of halves down to 128.

    >>> summation(300).tolist()
    [[0, 72, 0], [72, 72, 1], [144, 72, 0], [216, 84, 2]]

    Returns:
        int64 [n, 3], first number and size of each leaf, and how many sums it completes.
    """

    def leaves(start: int, size: int) -> list[list[int]]:
        if size <= _LEAF:
            return [[start, size, 0]]
        half = size // 2 - size // 2 % 8
        both = leaves(start, half) + leaves(start + half, size - half)
        both[-1][2] += 1
        return both

    return np.array(leaves(0, width), dtype=np.int64)
