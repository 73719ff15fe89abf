"""Topics: sets of neighbours in the neutral space, drawn before any score is seen."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices, Vectors
from harness.retrieval.embeddings import unit_length

Points = npt.NDArray[np.float64]

WIDTH = 64  # axes that distances are taken over
LARGEST_TREE = 8000  # points; a tree over n of them holds n * n / 2 distances
MICRO_CLUSTERS = 2000
_BALLS = 4  # times that balls of one size cover each point, on average
_BLOCK = 1024  # rows of similarities held at a time


def points_of(vectors: Vectors) -> Points:
    """Return points to cluster: unit length, centred, turned to their main axes.

    Centring takes away the cone that most encoders put all texts in; the axes of least variance
    are left out.

    Args:
        vectors: float [n, dim].

    Returns:
        float64 [n, min(64, dim)].
    """
    unit = unit_length(np.asarray(vectors, dtype=np.float64))
    centred = unit - unit.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    points: Points = centred @ axes[:, ::-1][:, :WIDTH]
    return points


class Leaves:
    """What trees are built over: distinct points, or micro-clusters of very many.

    Args:
        points: float64 [n, dim], distinct.
        weights: int64 [n], texts at each point.
        seed: of the micro-clusters.

    Attributes:
        places: int64 [n], the leaf of each point.
        points: float64 [n_leaves, dim].
        weights: int64 [n_leaves], texts at each leaf.
    """

    def __init__(self, points: Points, weights: Indices, *, seed: int) -> None:
        self.points, self.places = points, np.arange(len(points))
        if len(points) > LARGEST_TREE:
            from sklearn.cluster import MiniBatchKMeans

            means = MiniBatchKMeans(
                MICRO_CLUSTERS, batch_size=4096, n_init=1, random_state=seed % 2**32
            ).fit(points, sample_weight=weights)
            used, self.places = np.unique(means.labels_, return_inverse=True)
            self.points = means.cluster_centers_[used]
        self.weights = np.bincount(self.places, weights=weights).astype(np.int64)

    @cached_property
    def merges(self) -> Points:
        """Merges of the Ward tree over the points."""
        return ward(self.points)

    @cached_property
    def near(self) -> Points:
        """The points, each moved towards its nearest neighbours."""
        return smooth(self.points, neighbours=5)

    @cached_property
    def near_merges(self) -> Points:
        """Merges of the Ward tree over these."""
        return ward(self.near)


def nodes(leaves: Leaves) -> Iterator[Indices]:
    """Yield the nodes of three Ward trees: over the points, and over two smoothings of them.

    Smoothing parts dense groups that touch. On the intents of banking77 the nodes of the first tree
    hold a region of F1 0.72 for an intent on average, those of all three 0.78, and with the balls
    0.80.
    """
    if len(leaves.points) < 2:
        return
    nearer = smooth(smooth(leaves.points, neighbours=10), neighbours=10)
    for merges in (leaves.merges, leaves.near_merges, ward(nearer)):
        yield from _below(merges)


def plain_nodes(leaves: Leaves) -> Iterator[Indices]:
    """Yield the nodes of the Ward tree over the points alone."""
    if len(leaves.points) > 1:
        yield from _below(leaves.merges)


def balls(leaves: Leaves, *, smallest: int, largest: int) -> Iterator[Indices]:
    """Yield sets of leaves around many centres, of about every size between two limits.

    Args:
        leaves: to put together.
        smallest: texts in a ball, at least.
        largest: texts in a ball, at most.
    """
    if len(leaves.points) < 2:
        return
    size = float(smallest)
    while size <= largest:
        yield from _balls(leaves.near, leaves.near_merges, leaves.weights, size=round(size))
        size *= 2**0.5


def ward(points: Points) -> Points:
    """Return the merges of a Ward tree, as scipy's linkage writes them."""
    from scipy.cluster.hierarchy import linkage

    merges: Points = linkage(points, "ward")
    return merges


def smooth(points: Points, *, neighbours: int) -> Points:
    """Return unit points moved half way towards the mean of their nearest neighbours.

    Args:
        points: float64 [n, dim].
        neighbours: of each point.
    """
    unit = unit_length(points)
    count = min(neighbours, len(unit) - 1)
    if count < 1:
        return unit
    means = np.empty_like(unit)
    for start in range(0, len(unit), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(unit)))
        similar = unit[rows] @ unit.T
        similar[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        means[rows] = unit[nearest].mean(axis=1)
    return unit_length(unit + means)


def _below(merges: Points) -> Iterator[Indices]:
    """Yield the leaves below each merge but the root."""
    from scipy.cluster.hierarchy import leaves_list

    n = len(merges) + 1
    order = leaves_list(merges).astype(np.int64)
    # The leaves of a node are consecutive in this order.
    starts = np.empty(2 * n - 1, dtype=np.int64)
    starts[order] = np.arange(n)
    for number, (left, right) in enumerate(merges[:, :2].astype(np.int64).tolist()):
        starts[n + number] = min(starts[left], starts[right])
    for start, count in zip(
        starts[n:-1].tolist(), merges[:-1, 3].astype(int).tolist(), strict=True
    ):
        yield order[start : start + count]


def _balls(points: Points, merges: Points, weights: Indices, *, size: int) -> Iterator[Indices]:
    """Yield the leaves nearest to the middle of each cluster, until they hold `size` texts."""
    from scipy.cluster.hierarchy import fcluster
    from scipy.sparse import csr_array

    count = min(len(points), int(_BALLS * weights.sum() / size))
    cluster = fcluster(merges, count, "maxclust") - 1
    rows = np.arange(len(points))
    table: Any = csr_array((np.ones(len(points)), (cluster, rows)))
    middles: Points = table @ points
    near = min(size, len(points))
    for start in range(0, len(middles), _BLOCK):
        similar = middles[start : start + _BLOCK] @ points.T
        found = np.argpartition(-similar, near - 1, axis=1)[:, :near]
        nearest = np.argsort(-np.take_along_axis(similar, found, axis=1), axis=1, kind="stable")
        for row in np.take_along_axis(found, nearest, axis=1):
            within = row[np.cumsum(weights[row]) <= size]
            if len(within):  # a micro-cluster can be larger than a ball
                yield within
