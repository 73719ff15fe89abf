"""Topics: a tree over the neutral vectors of queries, drawn before any score is seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from harness.embeddings import Vectors, normalise

Points = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

WIDTH = 64  # axes that distances are taken over
LARGEST_TREE = 8000  # points; a tree over n of them holds n * n / 2 distances
MICRO_CLUSTERS = 2000


def prepare(vectors: Vectors, *, width: int = WIDTH) -> Points:
    """Return points to cluster: unit length, centred, turned to their main axes.

    Centring takes away the cone that most encoders put all texts in; the axes of least variance
    are left out.

    Args:
        vectors: float [n, dim].
        width: axes that are kept.

    Returns:
        float64 [n, min(width, dim)].
    """
    unit = normalise(np.asarray(vectors, dtype=np.float64))
    centred = unit - unit.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    points: Points = centred @ axes[:, ::-1][:, :width]
    return points


def tree_nodes(points: Points, *, seed: int) -> Iterator[Rows]:
    """Yield the nodes of a Ward tree below its root, each as the rows of its points, ascending.

    Beyond `LARGEST_TREE` points the leaves of the tree are micro-clusters.

    Args:
        points: float64 [n, dim].
        seed: of the micro-clusters.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    leaves, places = _leaves(points, seed=seed)
    if len(leaves) < 2:
        return
    merges = linkage(leaves, "ward")
    order = leaves_list(merges).astype(np.int64)
    rows = np.argsort(np.argsort(order)[places], kind="stable")
    sizes = np.bincount(places, minlength=len(leaves))
    ends = np.concatenate([[0], np.cumsum(sizes[order])])
    starts, stops = _spans(merges, order)
    for first, last in zip(ends[starts[:-1]].tolist(), ends[stops[:-1]].tolist(), strict=True):
        yield np.sort(rows[first:last])


def cells(points: Points, *, count: int, seed: int) -> Rows:
    """Return which of at most `count` k-means cells each point lies in, int64 [n]."""
    from sklearn.cluster import KMeans

    means = KMeans(min(count, len(points)), n_init=1, random_state=seed % 2**32)
    labels: Rows = means.fit_predict(points).astype(np.int64)
    return labels


def _leaves(points: Points, *, seed: int) -> tuple[Points, Rows]:
    """Return the points that the tree is built over, and which of them each row belongs to."""
    if len(points) <= LARGEST_TREE:
        return points, np.arange(len(points))
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        MICRO_CLUSTERS, batch_size=4096, n_init=1, random_state=seed % 2**32
    ).fit(points)
    used, places = np.unique(means.labels_, return_inverse=True)
    return means.cluster_centers_[used], places


def _spans(merges: Points, order: Rows) -> tuple[Rows, Rows]:
    """Return where the leaves of each merge start and stop in the order of the leaves."""
    n = len(order)
    starts = np.empty(2 * n - 1, dtype=np.int64)
    starts[order] = np.arange(n)
    counts = np.concatenate([np.ones(n, dtype=np.int64), merges[:, 3].astype(np.int64)])
    for number, (left, right) in enumerate(merges[:, :2].astype(np.int64).tolist()):
        starts[n + number] = min(starts[left], starts[right])
    return starts[n:], starts[n:] + counts[n:]
