"""Layout: a named map of the queries, on which likely neighbours stand together."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from harness.arrays import Indices, Vectors
from harness.collection import Collection
from harness.diagnosis.clusters import distinctive_terms
from harness.diagnosis.neutral import NeutralSource
from harness.diagnosis.topics import points_of
from harness.diagnosis.values import Topic
from harness.diagnosis.words import count_terms, head
from harness.retrieval.embeddings import unit_length
from harness.stage import Context, StoredStage, Work, unkeyed
from harness.store import Store

Positions = npt.NDArray[np.float64]

_MOST_FOR_NEIGHBOURS = 5000  # that t-SNE lays out; the others are placed among them
_FEWEST_FOR_NEIGHBOURS = 10
_PERPLEXITY = 30
_NEAREST = 10  # queries laid out, between which another is placed
_BLOCK = 4096  # rows of similarities held at a time
_OF_A_TOPIC = 50  # queries for each name on the map
_FEWEST_TOPICS, _MOST_TOPICS = 3, 12
_WORDS = 3  # of a name
_A_SECOND = 250  # queries that t-SNE lays out


@dataclass(frozen=True, eq=False)
class LayOut(StoredStage):
    """Stage: two coordinates of every query of a collection.

    Attributes:
        collection: whose queries are laid out.
        source: these in the neutral space.
        language: of the words, as in `count_terms`.
    """

    kind = "layouts"

    collection: Collection = field(metadata=unkeyed("`source` holds its queries"))
    source: NeutralSource
    language: str

    @property
    def label(self) -> str:
        """What is done."""
        return f"map the queries of {self.collection.name}"

    def also_keyed(self) -> tuple[object, ...]:
        """Return the version of scikit-learn."""
        return (importlib.metadata.version("scikit-learn"),)

    def work(self, store: Store) -> Work:  # noqa: ARG002
        """Return a rough estimate."""
        return Work(seconds=min(len(self.collection.queries), _MOST_FOR_NEIGHBOURS) / _A_SECOND)

    def run(self, context: Context) -> None:
        """Lay them out."""
        places = lay_out(self.source.vectors(context.store))
        topics, titles = name_topics(places, self.collection.queries, language=self.language)
        context.store.put(
            self.kind,
            self.ready_key(context.store),
            arrays={"places": places, "topics": topics},
            meta={"label": self.label, "titles": titles},
        )

    def places(self, store: Store) -> Positions:
        """Return the coordinates, float64 [n, 2]."""
        places: Positions = np.array(self.stored(store).array("places"))
        return places

    def topics(self, store: Store) -> list[Topic]:
        """Return the names on the map, the largest first."""
        stored, places = self.stored(store), self.places(store)
        belongs = stored.array("topics")
        found = []
        for number, name in enumerate(stored.meta["titles"]):
            mine = belongs == number
            x, y = np.median(places[mine], axis=0).tolist()
            found.append(
                Topic(collection=self.collection.name, title=name, n=int(mine.sum()), x=x, y=y)
            )
        return sorted(found, key=lambda each: (-each.n, each.title))


def lay_out(vectors: Vectors, *, most: int = _MOST_FOR_NEIGHBOURS) -> Positions:
    """Return two coordinates for each vector, by t-SNE.

    Of more than `most`, every n-th along the main axis is laid out, and each other one is placed at
    the median of its nearest among them, as openTSNE places new points (Poličar et al. 2019). The
    layout begins with the main axes, and nothing is drawn at random.

    Args:
        vectors: float [n, dim].
        most: that t-SNE itself lays out.

    Returns:
        float64 [n, 2], the larger extent from -1 to 1.
    """
    points = points_of(vectors)
    if points.shape[1] < 2:
        points = np.hstack([points, np.zeros((len(points), 2 - points.shape[1]))])
    places: Positions = points[:, :2]
    if len(points) >= _FEWEST_FOR_NEIGHBOURS and np.ptp(places) > 0:
        step = -(-len(points) // most)
        laid = np.sort(np.argsort(points[:, 0], kind="stable")[::step])
        near = _neighbours(points[laid])
        places = near if len(laid) == len(points) else _placed(points, laid, near)
    extent = np.abs(places).max(initial=0)
    return places / extent if extent else places


def _neighbours(points: Positions) -> Positions:
    """Return the t-SNE of some points, float64 [n, 2]."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    start, spread = points[:, :2], points[:, 0].std()
    near = TSNE(
        perplexity=min(_PERPLEXITY, (len(points) - 1) / 3),
        init=(start / spread * 1e-4 if spread else start).astype(np.float32),
        random_state=0,
    )
    with threadpool_limits(1):  # its threads wait for each other longer than they work
        return np.asarray(near.fit_transform(points.astype(np.float32)), dtype=np.float64)


def _placed(points: Positions, laid: Indices, near: Positions) -> Positions:
    """Return a place for every point, from those of the points that are laid out."""
    unit = unit_length(points).astype(np.float32)
    places = np.empty((len(points), 2))
    for start in range(0, len(points), _BLOCK):
        similar = unit[start : start + _BLOCK] @ unit[laid].T
        nearest = np.argpartition(-similar, _NEAREST - 1, axis=1)[:, :_NEAREST]
        places[start : start + _BLOCK] = np.median(near[nearest], axis=1)
    places[laid] = near
    return places


def name_topics(
    places: Positions, texts: Sequence[str], *, language: str
) -> tuple[Indices, list[str]]:
    """Divide a map into parts, and return the part of each text, and words that tell each part.

    Args:
        places: float64 [n, 2].
        texts: n of them.
        language: of the words, as in `count_terms`.

    Returns:
        int64 [n], a place in the titles, -1 where a part has no name; the titles.
    """
    from sklearn.cluster import KMeans

    belongs, titles = np.full(len(texts), -1), list[str]()
    count = min(max(len(texts) // _OF_A_TOPIC, _FEWEST_TOPICS), _MOST_TOPICS)
    if len(np.unique(places, axis=0)) < count:
        return belongs, titles
    parts = KMeans(count, n_init=4, random_state=0).fit(places)
    terms = count_terms([head(text) for text in texts], language=language)
    for number in range(count):
        inside = parts.labels_ == number
        name = ", ".join(distinctive_terms(terms, inside, ~inside, shown=_WORDS))
        if name and name not in titles:
            belongs[inside] = len(titles)
            titles.append(name)
    return belongs, titles
