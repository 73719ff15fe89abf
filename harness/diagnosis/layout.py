"""Layout: a place on a map for every query, so that likely neighbours stand together."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.collection import Collection
from harness.diagnosis.neutral import NeutralSource
from harness.diagnosis.topics import points_of
from harness.stage import Context, StoredStage, Work, unkeyed
from harness.store import Store

Positions = npt.NDArray[np.float64]

_MOST_FOR_NEIGHBOURS = 5000  # above, the two main axes: neighbours take minutes
_FEWEST_FOR_NEIGHBOURS = 10
_PERPLEXITY = 30
_A_SECOND = 250  # queries that t-SNE lays out


@dataclass(frozen=True, eq=False)
class LayOut(StoredStage):
    """Stage: two coordinates of every query of a collection.

    Attributes:
        collection: whose queries are laid out.
        source: these in the neutral space.
    """

    kind = "layouts"

    collection: Collection = field(metadata=unkeyed("`source` holds its queries"))
    source: NeutralSource

    @property
    def label(self) -> str:
        """What is done."""
        return f"lay out the queries of {self.collection.name}"

    def also_keyed(self) -> tuple[object, ...]:
        """Return the version of scikit-learn."""
        return (importlib.metadata.version("scikit-learn"),)

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return a rough estimate."""
        n = len(self.collection.queries)
        return Work(seconds=n / _A_SECOND if n <= _MOST_FOR_NEIGHBOURS else 1.0)

    def run(self, context: Context) -> None:
        """Lay them out."""
        context.store.put(
            self.kind,
            self.ready_key(context.store),
            arrays={"places": lay_out(self.source.vectors(context.store))},
            meta={"label": self.label},
        )

    def places(self, store: Store) -> Positions:
        """Return the coordinates, float64 [n, 2]."""
        places: Positions = np.array(self.stored(store).array("places"))
        return places


def lay_out(vectors: Vectors) -> Positions:
    """Return two coordinates for each vector: t-SNE of at most 5,000, else the two main axes.

    Both begin with the main axes, and nothing is drawn at random.

    Args:
        vectors: float [n, dim].

    Returns:
        float64 [n, 2], the larger extent from -1 to 1.
    """
    points = points_of(vectors)
    if points.shape[1] < 2:
        points = np.hstack([points, np.zeros((len(points), 2 - points.shape[1]))])
    places: Positions = points[:, :2]
    if _FEWEST_FOR_NEIGHBOURS <= len(points) <= _MOST_FOR_NEIGHBOURS and np.ptp(places) > 0:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
        start = places / places[:, 0].std() * 1e-4 if places[:, 0].std() else places
        near = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=0)
        with threadpool_limits(1):  # its threads wait for each other longer than they work
            places = near.fit_transform(points.astype(np.float32)).astype(np.float64)
    extent = np.abs(places).max(initial=0)
    return places / extent if extent else places
