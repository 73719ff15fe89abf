"""Hubs: documents that come back for far more queries than their share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows

_UNUSUAL = 0.999


class Hubs(NamedTuple):
    """Documents with more occurrences than the Poisson law of the mean allows.

    Attributes:
        rows: int [h], most frequent first.
        counts: int [h], queries that return each.
        occurrences: int [n_documents], of every document.
    """

    rows: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    occurrences: npt.NDArray[np.int64]


def count_hubs(top: Rows, counted: npt.NDArray[np.bool_], *, n_documents: int) -> Hubs:
    """Return the hubs of a ranking.

    Args:
        top: int32 [n_queries, k].
        counted: bool [n_queries, k], which places count.
        n_documents: of the corpus.
    """
    from scipy.stats import poisson

    occurrences = np.bincount(top[counted], minlength=n_documents)
    limit = poisson.ppf(_UNUSUAL, counted.sum() / max(n_documents, 1))
    # Twice is no pattern, however large the corpus is.
    rows = np.flatnonzero(occurrences > max(limit, 2))
    rows = rows[np.argsort(-occurrences[rows], kind="stable")]
    return Hubs(rows, occurrences[rows], occurrences)


def occurrence_skewness(occurrences: npt.NDArray[np.int64]) -> float:
    """Return the third standardised moment of k-occurrences; 0 where all are alike."""
    spread = occurrences - occurrences.mean()
    variance = float(np.mean(spread**2))
    return float(np.mean(spread**3) / variance**1.5) if variance > 0 else 0.0
