"""Geometry: cones, spread and dimensions of a set of vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.retrieval.embeddings import Embeddings, unit_length

_PAIRS = 20_000


def mean_cosine(documents: Embeddings, *, seed: int) -> float:
    """Return the mean cosine of random pairs of documents; 0 where there is one only."""
    pairs = random_pairs(len(documents), seed=seed)
    if not len(pairs):
        return 0.0
    one, two = (unit_length(documents.take(side)) for side in pairs.T)
    return float((one * two).sum(axis=1, dtype=np.float64).mean())


def random_pairs(n: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Return random pairs of different rows, int64 [m, 2]."""
    if n < 2:
        return np.empty((0, 2), dtype=np.int64)
    draw = np.random.default_rng(seed)
    pairs: npt.NDArray[np.int64] = draw.integers(0, n, (_PAIRS, 2))
    different: npt.NDArray[np.int64] = pairs[pairs[:, 0] != pairs[:, 1]]
    return different


def uniformity(one: Vectors, two: Vectors) -> float:
    """Return log mean exp(-2 squared distance) of pairs of unit vectors (Wang & Isola 2020)."""
    distances = np.square(one - two).sum(axis=1, dtype=np.float64)
    return float(np.log(np.exp(-2 * distances).mean()))


def effective_rank(vectors: Vectors) -> float:
    """Return exp of the entropy of the covariance's eigenvalues (Roy & Vetterli 2007).

    >>> round(effective_rank(np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)), 3)
    2.0
    """
    centred = vectors - vectors.mean(axis=0)
    values = np.linalg.eigvalsh((centred.T @ centred).astype(np.float64)).clip(min=0)
    if values.sum() <= 0:
        return 1.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
