"""Flat clusters: the usual ways to look for failing groups, as peers of the scan.

Each clusters the vectors without the losses, tests every cluster by the hypergeometric tail, and
reports what passes Benjamini and Hochberg at 0.05.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.diagnosis.topics import points_of

Assign = Callable[[Any], Any]
_SMALLEST = 15
_MOST = 10


def kmeans(count: int) -> Assign:
    """Return k-means with so many clusters."""
    from sklearn.cluster import KMeans

    return lambda points: KMeans(count, n_init=3, random_state=0).fit_predict(points)


def hdbscan(width: int = 30) -> Assign:
    """Return HDBSCAN over the first axes; what it calls noise is in no cluster."""
    from sklearn.cluster import HDBSCAN

    return lambda points: HDBSCAN(min_cluster_size=_SMALLEST, copy=True).fit_predict(
        points[:, :width]
    )


FLAT: dict[str, Callable[[], Assign]] = {
    "k-means, 25": lambda: kmeans(25),
    "k-means, 64": lambda: kmeans(64),
    "PCA 30, HDBSCAN": hdbscan,
}


def clusters(assign: Assign, vectors: Any) -> Any:
    """Return the cluster of each text, -1 for none."""
    return assign(points_of(vectors))


def failing(labels: Any, losses: Any) -> list[Any]:
    """Return rows of the clusters that fail more than chance explains, the surest first."""
    from scipy.stats import hypergeom

    names = [name for name in np.unique(labels[labels >= 0]) if (labels == name).sum() >= _SMALLEST]
    rows = [np.flatnonzero(labels == name) for name in names]
    bad, n = int(losses.sum()), len(losses)
    p = np.array([hypergeom.sf(losses[each].sum() - 1, n, bad, len(each)) for each in rows])
    order = np.argsort(p, kind="stable")
    passed = np.flatnonzero(p[order] <= 0.05 * np.arange(1, len(p) + 1) / max(1, len(p)))
    count = int(passed.max(initial=-1)) + 1
    return [rows[place] for place in order[:count]][:_MOST]
