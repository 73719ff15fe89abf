"""Failures: the clusters of one candidate in all three modes, with the reasons that mark them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.arrays import Flags, Values
from harness.diagnosis.clusters import Scan, scan
from harness.diagnosis.contrast import contrast
from harness.diagnosis.describe import document_exemplars, failure_cluster, query_exemplars
from harness.diagnosis.scan import Discovery
from harness.diagnosis.values import FailureCluster, Mode
from harness.diagnosis.view import View
from harness.runs.run import Run
from harness.statistics.families import holm

_LEVEL = 0.05
_LETTERS: Mapping[Mode, str] = {"loss": "c", "difference": "r", "documents": "d"}


@dataclass(frozen=True, eq=False)
class Scanner:
    """Looks for the clusters of one candidate.

    Attributes:
        view: the collection in its neutral space.
        run: what the candidate returned.
        discovery: how strictly clusters are reported.
        seed: of everything that draws.
    """

    view: View
    run: Run
    discovery: Discovery
    seed: int

    def losses(self, losses: Values) -> tuple[Scan, list[FailureCluster]]:
        """Return queries that lose much together, with what the scan could have found."""
        found = self._scan_queries(losses, "loss")
        return found, self._of_queries(found, losses, "loss", None)

    def differences(self, losses: Values, reference: str, its: Values) -> list[FailureCluster]:
        """Return queries that lose together against another candidate, though the mean may not.

        Args:
            losses: float64 [n_queries], of the candidate.
            reference: name of the other one.
            its: losses of that.
        """
        difference = np.asarray(losses - its)
        found = self._scan_queries(difference, "difference")
        return self._of_queries(found, difference, "difference", reference)

    def documents(self, *, k: int) -> list[FailureCluster]:
        """Return relevant documents that are missed together."""
        view = self.view
        relevant, rows = view.facts.relevant, view.relevant_documents
        if not len(rows):
            return []
        ranks = relevant.ranks_in(self.run)
        missed = (ranks == 0) | (ranks > k)
        places = np.searchsorted(rows, relevant.documents)
        asked = np.bincount(places, minlength=len(rows))
        shares = np.bincount(places, weights=missed, minlength=len(rows)) / asked
        found = scan(
            view.document_regions,
            shares,
            mode="documents",
            discovery=self.discovery,
            seed=self.seed,
        )
        ids = [view.collection.document_ids[row] for row in rows.tolist()]
        return [
            failure_cluster(
                cluster,
                number=number,
                mode="documents",
                reference=None,
                ids=ids,
                texts=[view.collection.documents[row] for row in rows.tolist()],
                exemplars=document_exemplars(
                    cluster, rows, collection=view.collection, run=self.run
                ),
            )
            for number, cluster in enumerate(found.clusters, start=1)
        ]

    def _scan_queries(self, losses: Values, mode: Mode) -> Scan:
        return scan(
            self.view.query_regions,
            losses,
            groups=self.view.groups,
            mode=mode,
            discovery=self.discovery,
            seed=self.seed,
        )

    def _of_queries(
        self, found: Scan, losses: Values, mode: Mode, reference: str | None
    ) -> list[FailureCluster]:
        collection = self.view.collection
        return [
            failure_cluster(
                cluster,
                number=number,
                mode=mode,
                reference=reference,
                ids=collection.query_ids,
                texts=collection.queries,
                exemplars=query_exemplars(cluster, losses, collection=collection, run=self.run),
            )
            for number, cluster in enumerate(found.clusters, start=1)
        ]


def keyed(clusters: Iterable[FailureCluster]) -> list[FailureCluster]:
    """Return clusters with keys that are unique among all: c1, c2; r1 of a difference; d1.

    The scan tests a region against what is left when the clusters before it are taken away; one
    that does not clearly lose more than all others together explains no loss and is left out.
    """
    counts = dict.fromkeys(_LETTERS.values(), 0)
    found = []
    for cluster in clusters:
        if cluster.impact <= 0 or cluster.ratio_low <= 1:
            continue
        letter = _LETTERS[cluster.mode]
        counts[letter] += 1
        found.append(cluster.model_copy(update={"key": f"{letter}{counts[letter]}"}))
    return found


def with_reasons(
    clusters: Sequence[FailureCluster], shows: Mapping[str, Flags], query_ids: Sequence[str]
) -> list[FailureCluster]:
    """Return clusters with the reasons that their queries show more often than all others do.

    By Fisher's exact test, Holm over all clusters and reasons; the largest odds ratio first.

    Args:
        clusters: of queries; those of documents have none.
        shows: for each reason, bool [n_queries].
        query_ids: of the collection.
    """
    places = {key: row for row, key in enumerate(query_ids)}
    found: list[tuple[int, str, float, float]] = []
    for number, cluster in enumerate(clusters):
        if cluster.mode == "documents":
            continue
        inside = np.zeros(len(query_ids), dtype=bool)
        inside[[places[key] for key in cluster.members]] = True
        for reason, flags in shows.items():
            table = contrast(inside, flags, alternative="greater")
            found.append((number, reason, table.odds_ratio, table.p))
    adjusted: Values = holm(np.array([p for *_, p in found]))
    kept = [each for each, p in zip(found, adjusted, strict=True) if p <= _LEVEL]
    kept.sort(key=lambda each: (-each[2], each[1]))
    reasons: dict[int, list[str]] = {}
    for number, reason, *_ in kept:
        reasons.setdefault(number, []).append(reason)
    return [
        cluster.model_copy(update={"reasons": reasons.get(number, [])})
        for number, cluster in enumerate(clusters)
    ]
