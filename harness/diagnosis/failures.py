"""Failures: the clusters of one candidate in all three modes, with ids in the place of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.arrays import Flags, Indices, Values
from harness.collection import Collection
from harness.diagnosis.clusters import FoundCluster, Scan, scan
from harness.diagnosis.contrast import contrast
from harness.diagnosis.scan import Discovery
from harness.diagnosis.values import Exemplar, FailureCluster, Mode
from harness.diagnosis.view import View
from harness.diagnosis.words import short
from harness.runs.run import Run
from harness.statistics.families import holm

_LEVEL = 0.05
_SHOWN = 10  # documents of an exemplar
_LETTERS: Mapping[Mode, str] = {"loss": "c", "difference": "r", "documents": "d"}


@dataclass(frozen=True, eq=False)
class Scanner:
    """Looks for the clusters of one candidate.

    Attributes:
        view: the collection in its neutral space.
        run: what the candidate returned.
        ranks: int64 [n_queries], exact, of the best relevant document; 0 where it is not ranked.
        discovery: how strictly clusters are reported.
        seed: of everything that draws.
    """

    view: View
    run: Run
    ranks: Indices
    discovery: Discovery
    seed: int

    def losses(self, losses: Values) -> tuple[str, list[FailureCluster]]:
        """Return what the scan could have found, in words, and queries that lose together."""
        found = self._scan(losses, "loss")
        return found.detectable, self._of_queries(found, losses, "loss", None)

    def differences(self, losses: Values, reference: str, its: Values) -> list[FailureCluster]:
        """Return queries that lose together against another candidate, though the mean may not."""
        difference = np.asarray(losses - its)
        found = self._scan(difference, "difference")
        return self._of_queries(found, difference, "difference", reference)

    def documents(self, *, k: int) -> list[FailureCluster]:
        """Return relevant documents that are missed together."""
        view, collection = self.view, self.view.collection
        relevant, rows = view.facts.relevant, view.relevant_documents
        if not len(rows):
            return []
        ranks = relevant.ranks_in(self.run)
        missed = (ranks == 0) | (ranks > k)
        places = np.searchsorted(rows, relevant.documents)
        asked = np.bincount(places, minlength=len(rows))
        shares = np.bincount(places, weights=missed, minlength=len(rows)) / asked
        return [
            failure_cluster(
                cluster,
                mode="documents",
                reference=None,
                ids=[collection.document_ids[row] for row in rows.tolist()],
                texts=[collection.documents[row] for row in rows.tolist()],
                exemplars=self._ranked(
                    _document_exemplars(cluster, rows, collection=collection, run=self.run)
                ),
            )
            for cluster in self._scan(shares, "documents").clusters
        ]

    def _ranked(self, exemplars: Sequence[Exemplar]) -> list[Exemplar]:
        """Return exemplars with the exact rank where the run does not hold the document."""
        places = {key: row for row, key in enumerate(self.view.collection.query_ids)}
        return [
            each.model_copy(
                update={"rank": each.rank or int(self.ranks[places[each.query]]) or None}
            )
            for each in exemplars
        ]

    def _scan(self, losses: Values, mode: Mode) -> Scan:
        view, of_documents = self.view, mode == "documents"
        return scan(
            view.document_regions if of_documents else view.query_regions,
            losses,
            groups=None if of_documents else view.groups,
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
                mode=mode,
                reference=reference,
                ids=collection.query_ids,
                texts=collection.queries,
                exemplars=self._ranked(
                    _query_exemplars(cluster, losses, collection=collection, run=self.run)
                ),
            )
            for cluster in found.clusters
        ]


def failure_cluster(
    found: FoundCluster,
    *,
    mode: Mode,
    reference: str | None,
    ids: Sequence[str],
    texts: Sequence[str],
    exemplars: Sequence[Exemplar],
) -> FailureCluster:
    """Return a found cluster as a stored value, still without its key and reasons.

    Ids and texts are those that were scanned; a cluster without a content word is named by what its
    members share, else by a text.
    """
    best = 0.0 if mode == "difference" else 1.0
    is_named = bool(found.name.title or found.predicate)
    like = [] if is_named else [f"such as “{short(texts[row])}”" for row in found.typical[:1]]
    return FailureCluster(
        key="",
        mode=mode,
        reference=reference,
        region=found.region,
        predicate=found.predicate,
        title=found.name.title,
        label=list(found.name.terms) or like,
        inside=list(found.inside),
        n=len(found.members),
        share=len(found.members) / len(ids),
        mean=best - found.loss,
        rest=best - found.rest,
        ratio=found.ratio.value,
        ratio_low=found.ratio.low,
        ratio_high=found.ratio.high,
        p_adjusted=found.p_adjusted,
        impact=found.impact,
        stability=found.stability,
        reasons=[],
        exemplars=list(exemplars),
        members=[ids[row] for row in found.members],
    )


def _query_exemplars(
    found: FoundCluster, losses: Values, *, collection: Collection, run: Run
) -> list[Exemplar]:
    """Return queries that stand for a cluster of queries, with what came back.

    Three typical failures, the failure with the worst margin, and a success close by.
    """

    def exemplar(row: int, role: Literal["typical", "worst", "success"]) -> Exemplar:
        return _exemplar(row, role, collection=collection, run=run)

    failing = found.members[losses[found.members] > losses.mean()].tolist()
    others = [exemplar(row, "worst") for row in failing if row not in found.typical]
    shown = [exemplar(row, "typical") for row in found.typical]
    if others:
        shown.append(max(others, key=_badness))
    if found.success is not None:
        shown.append(exemplar(found.success, "success"))
    return shown


def _document_exemplars(
    found: FoundCluster, documents: Indices, *, collection: Collection, run: Run
) -> list[Exemplar]:
    """Return the queries that miss typical documents of a cluster of documents worst."""
    judged, exemplars = collection.judgements, dict[str, Exemplar]()
    for row in documents[list(found.typical)].tolist():
        queries = judged.queries[(judged.documents == row) & (judged.grades > 0)].tolist()
        asked = [_exemplar(each, "typical", collection=collection, run=run) for each in queries]
        if asked:
            worst = max(asked, key=_badness)
            exemplars.setdefault(worst.query, worst)  # one query can miss several of them
    return list(exemplars.values())


def _badness(exemplar: Exemplar) -> tuple[float, float]:
    rank = float("inf") if exemplar.rank is None else float(exemplar.rank)
    return (rank, exemplar.margin or 0.0)


def _exemplar(
    query: int, role: Literal["typical", "worst", "success"], *, collection: Collection, run: Run
) -> Exemplar:
    returned = run.documents[query]
    returned = returned[returned >= 0]
    judged = collection.judgements
    mine = slice(*np.searchsorted(judged.queries, [query, query + 1]))
    grades, documents = judged.grades[mine], judged.documents[mine]
    relevant = np.unique(documents[(grades > 0) & (documents >= 0)])
    ranks = np.flatnonzero(np.isin(returned, relevant)).tolist()
    margin = None
    if ranks:
        last = min(_SHOWN, len(returned)) - 1
        margin = float(run.scores[query, last] - run.scores[query, ranks[0]])
    return Exemplar(
        query=collection.query_ids[query],
        role=role,
        retrieved=[collection.document_ids[row] for row in returned[:_SHOWN]],
        relevant=[collection.document_ids[row] for row in relevant],
        rank=ranks[0] + 1 if ranks else None,
        margin=margin,
    )


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
