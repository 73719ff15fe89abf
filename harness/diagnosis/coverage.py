"""Coverage: how far queries lie from the pairs that a candidate was trained on, and what to add.

Only the training queries are brought into the neutral space. A passage is compared with them too:
where none lies near it, nothing in training asked for what it says. The training documents, many
and long, would take hours to encode and tell little more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.arrays import Flags, Indices, Values, Vectors
from harness.collection import Collection
from harness.diagnosis.neutral import Neutral, NeutralSource
from harness.diagnosis.values import FailureCluster, TrainingCoverage, TrainingView
from harness.errors import HarnessError
from harness.plan.plan import Plan
from harness.stage import Keyed, unkeyed
from harness.store import Store
from harness.training.data import TrainingData
from harness.training.finetune import Train

_EXAMPLES = 3
_TO_ADD = 20  # passages that are named for each cluster
_BLOCK = 4096
_STANDARD_ERRORS = 2.0  # by which a cluster must lie farther away than the rest


@dataclass(frozen=True, eq=False)
class Training(Keyed):
    """Pairs that a candidate is known to be trained on, and the neutral vectors of the queries.

    Attributes:
        source: where they come from, for people.
        queries: distinct texts of the first column.
        documents: distinct texts of the second; the same where there is only one.
        pairs: how many.
        vectors: of the queries.
    """

    source: str = field(metadata=unkeyed("for people"))
    queries: tuple[str, ...] = field(
        repr=False, metadata=unkeyed("`vectors` are keyed by these texts")
    )
    documents: tuple[str, ...] = field(repr=False)
    pairs: int
    vectors: NeutralSource


def known_training(plan: Plan, name: str, neutral: Neutral) -> Training | None:
    """Return what a candidate is known to be trained on; None where nothing is known.

    Raises:
        HarnessError: the file or split that the suite names cannot be read.
    """
    found = training_data(plan, name)
    if found is None:
        return None
    source, data = found
    first, second, *_ = [tuple(dict.fromkeys(column)) for column in data.columns.values()] * 2
    vectors = neutral.texts("query", first)
    return None if vectors is None else Training(source, first, second, len(data), vectors)


def training_data(plan: Plan, name: str) -> tuple[str, TrainingData] | None:
    """Return the training data of a candidate, or else of the first parent that has any."""
    said = plan.suite.diagnosis.training.get(name)
    if said is not None:
        try:
            return ", ".join(said), plan.planner.sources.read(said)
        except HarnessError as error:
            where = plan.suite.where("diagnosis", "training")
            problems = [f"{where}: training of '{name}': {each}" for each in error.problems]
            raise HarnessError(problems, exit_code=error.exit_code) from error
    dense = plan.planner.models.get(name)
    if dense is not None and isinstance(dense.model, Train):
        names = ", ".join(origin.name for origin in dense.model.data.origins)
        return f"{names}, as '{dense.owner}' learned from it", dense.model.data.data
    parents = (training_data(plan, parent) for parent in plan.suite.candidates[name].needs)
    return next((found for found in parents if found is not None), None)


def view_training(
    training: Training,
    collection: Collection,
    queries: Vectors,
    clusters: Sequence[FailureCluster],
    documents: tuple[Indices, Vectors],
    *,
    store: Store,
) -> TrainingView:
    """Return how near the training pairs are to all queries and to each failure cluster.

    Args:
        training: of the candidate, encoded.
        collection: whose queries.
        queries: their neutral vectors.
        clusters: of queries.
        documents: rows of relevant documents, and their neutral vectors.
        store: where the vectors of the training queries lie.
    """
    trained = training.vectors.vectors(store)
    nearest, similarity = _nearest(queries, trained)
    rows, vectors = documents
    covered = dict(zip(rows.tolist(), _nearest(vectors, trained)[1].tolist(), strict=True))
    known, judged = set(training.documents), collection.judgements
    is_relevant = (judged.grades >= 1) & (judged.documents >= 0)

    def coverage_of(key: str, inside: Flags, to_add: list[str]) -> TrainingCoverage:
        order = np.argsort(np.where(inside, -similarity, np.inf), kind="stable")
        chosen = nearest[order[: int(inside.sum())]].tolist()
        others = similarity if inside.all() else similarity[~inside]
        return TrainingCoverage(
            cluster=key,
            nearest=float(similarity[inside].mean()),
            rest=float(others.mean()),
            examples=list(dict.fromkeys(training.queries[row] for row in chosen))[:_EXAMPLES],
            to_add=to_add,
        )

    everyone = coverage_of("", np.ones(len(queries), dtype=bool), [])
    coverage = [everyone]
    mean = f"{everyone.nearest:.2f} (n={len(queries):,})"
    sentences = [f"On average a query's nearest training query has cosine {mean}."]
    places = {key: row for row, key in enumerate(collection.query_ids)}
    for cluster in clusters:
        inside = np.zeros(len(queries), dtype=bool)
        inside[[places[key] for key in cluster.members]] = True
        is_far = _is_far(similarity[inside], similarity[~inside])
        asked = np.unique(judged.documents[is_relevant & inside[judged.queries]]).tolist()
        missing = [
            row for row in asked if row in covered and collection.documents[row] not in known
        ]
        missing.sort(key=lambda row: (covered[row], row))
        to_add = [collection.document_ids[row] for row in missing[:_TO_ADD]] if is_far else []
        coverage.append(coverage_of(cluster.key, inside, to_add))
        sentences.append(_sentence(cluster, coverage[-1], len(queries), is_far=is_far))
    return TrainingView(
        source=training.source, pairs=training.pairs, coverage=coverage, sentences=sentences
    )


def _nearest(vectors: Vectors, others: Vectors) -> tuple[Indices, Values]:
    """Return the row of each vector's most similar other one, int64 [n], and their cosine."""
    best = np.full(len(vectors), -np.inf)
    rows = np.zeros(len(vectors), dtype=np.int64)
    for start in range(0, len(others), _BLOCK):
        products = vectors @ others[start : start + _BLOCK].T
        places = products.argmax(axis=1)
        values = products[np.arange(len(vectors)), places]
        better = values > best
        best[better], rows[better] = values[better], start + places[better]
    return rows, best


def _is_far(ours: Values, theirs: Values) -> bool:
    """Tell whether a cluster clearly lies farther from the training queries than the rest."""
    if not len(theirs):
        return False
    error = float(np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs)))
    return bool(ours.mean() < theirs.mean() - _STANDARD_ERRORS * error)


def _sentence(cluster: FailureCluster, covered: TrainingCoverage, n: int, *, is_far: bool) -> str:
    what = f"Cluster {cluster.key} ({', '.join(cluster.label) or cluster.predicate})"
    numbers = (
        f"mean cosine with the nearest training query {covered.nearest:.2f}, for all other queries "
        f"{covered.rest:.2f} (n={cluster.n:,} and {n - cluster.n:,})"
    )
    if is_far:
        count = len(covered.to_add)
        add = f" Write queries for its passages; the {count} farthest are listed." if count else ""
        return f"{what} lies farther from the training pairs than the rest: {numbers}.{add}"
    return (
        f"{what} is no farther from the training pairs than the rest: {numbers}. Missing training "
        "data does not explain its failures."
    )
