"""Unjudged: retrieved documents that nobody judged and that are likely relevant, for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.arrays import Values
from harness.collection import Collection
from harness.collection.texts import normalise
from harness.diagnosis.values import Unjudged
from harness.diagnosis.words import READ_WORDS
from harness.errors import counted
from harness.runs.run import Run

_DEPTH = 10
_FEWEST_FAMILIES = 2  # independent systems that must agree against the judgements
# Of the positive's score, from which a negative is likely a positive (NV-Retriever).
_CEILING = 0.95
_IDENTICAL = 0.99  # above which two texts are called nearly identical
_LEAST = 0.1  # likelihood below which nobody is asked
_NAMED = 3  # candidates in a sentence

Key = tuple[int, int]  # row of the query, row of the document


@dataclass(frozen=True)
class Retrieved:
    """What a candidate returned.

    Attributes:
        run: its ranking.
        family: candidates of one family fail alike: they share the weights, or match words.
    """

    run: Run
    family: str


class _Pair(NamedTuple):
    """A query and a document among the first of some candidate.

    Attributes:
        ranks: by candidate, from 1.
        above: the same, of the candidates that return it above every relevant document.
    """

    ranks: dict[str, int]
    above: dict[str, int]


def find_unjudged(
    retrieved: Mapping[str, Retrieved],
    collection: Collection,
    *,
    twins: Mapping[int, Mapping[int, float]],
    scores: Mapping[Key, float],
) -> list[Unjudged]:
    """Return unjudged documents that are likely relevant, the most likely first.

    A document is asked about where candidates of two families return it above every document that
    is judged relevant, where it is nearly the same as one of these and holds every word of the
    query as often (two leaflets of one template differ in the name of the disease), or where a
    cross-encoder scores it as high as the best of these (95% of its score; Moreira et al. 2024).

    Its likelihood is a rate that can be counted: how many of the documents that are ranked like it
    (or that the cross-encoder scores like it) are judged relevant; of a twin, at least the
    similarity. Both rates are fitted so that they never fall where the rank or score is better.

    Args:
        retrieved: by candidate; those that mix others, such as a fusion, add no evidence.
        collection: whose judgements.
        twins: documents that are nearly the same, with their similarity.
        scores: of a cross-encoder between 0 and 1, by (query row, document row), where known.
    """
    judged = collection.judgements
    keys = zip(judged.queries.tolist(), judged.documents.tolist(), strict=True)
    grades = dict(zip(keys, judged.grades.tolist(), strict=True))
    relevant: dict[int, list[int]] = {row: [] for row in range(len(collection.queries))}
    for (query, document), grade in grades.items():
        if grade >= 1 and document >= 0:
            relevant[query].append(document)
    pairs = _pairs(retrieved, collection)
    families = {name: each.family for name, each in retrieved.items()}
    rank_rate = _fitted({key: _strength(pair, families) for key, pair in pairs.items()}, relevant)
    score_rate = _fitted({key: scores[key] for key in pairs if key in scores}, relevant)
    best = {
        query: max((scores.get((query, row), 0.0) for row in rows), default=0.0)
        for query, rows in relevant.items()
    }
    found = []
    for key, pair in pairs.items():
        if key in grades:
            continue
        query, document = key
        alike, twin = _twin(key, twins.get(document, {}), relevant[query], collection)
        agree = len({families[name] for name in pair.above}) >= _FEWEST_FAMILIES
        scored = bool(pair.above) and scores.get(key, 0.0) >= _CEILING * best[query] > 0
        rates = [rank_rate[key], alike, score_rate[key] if scored else 0.0]
        if not (agree or scored or alike > 0) or max(rates) < _LEAST:
            continue
        why = []
        if pair.above:
            rate = f"; {rank_rate[key]:.0%} of the documents ranked as high are judged relevant"
            names = [f"{name} (rank {rank})" for name, rank in pair.above.items()]
            if len(names) > _NAMED:
                names[_NAMED - 1 :] = [counted(len(names) - _NAMED + 1, "other")]
            joined = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
            verb = "return" if names[1:] else "returns"
            why.append(f"{joined} {verb} it above every relevant document{rate if agree else ''}.")
        if alike > 0:
            same = collection.document_ids[twin]
            nearly = "nearly identical (over 99%) to"
            share = nearly if alike > _IDENTICAL else f"{alike:.0%} the same as"
            why.append(f"It is {share} '{same}', which is relevant.")
        if scored:
            why.append(
                f"A cross-encoder scores it {scores[key]:.2f}, the best relevant document "
                f"{best[query]:.2f}."
            )
        found.append(
            Unjudged(
                query=collection.query_ids[query],
                document=collection.document_ids[document],
                rank=min(pair.ranks.values()),
                candidates=list(pair.above),
                likelihood=round(float(max(rates)), 4),
                why=" ".join(why),
            )
        )
    found.sort(key=lambda each: (-each.likelihood, each.rank, each.query, each.document))
    return found


def _pairs(retrieved: Mapping[str, Retrieved], collection: Collection) -> dict[Key, _Pair]:
    """Return every pair among the first ten of a candidate."""
    pairs: dict[Key, _Pair] = {}
    for name, each in retrieved.items():
        documents = each.run.documents
        hits = collection.judgements.grades_of(documents) >= 1
        first = np.where(hits.any(axis=1), hits.argmax(axis=1), documents.shape[1])
        for query, top in enumerate(documents[:, :_DEPTH].tolist()):
            for place, document in enumerate(top):
                if document < 0:
                    break
                pair = pairs.setdefault((query, document), _Pair({}, {}))
                pair.ranks[name] = place + 1
                if place < first[query]:
                    pair.above[name] = place + 1
    return pairs


def _strength(pair: _Pair, families: Mapping[str, str]) -> float:
    """Return how high independent candidates rank a document: the sum of reciprocal best ranks."""
    best: dict[str, int] = {}
    for name, rank in pair.ranks.items():
        best[families[name]] = min(rank, best.get(families[name], rank))
    return sum(1 / rank for rank in best.values())


def _fitted(values: Mapping[Key, float], relevant: Mapping[int, Sequence[int]]) -> dict[Key, float]:
    """Return the share of pairs with such a value that are judged relevant, never falling."""
    if not values:
        return {}
    from sklearn.isotonic import IsotonicRegression

    keys = list(values)
    x = np.array([values[key] for key in keys])
    y: Values = np.array([float(document in relevant[query]) for query, document in keys])
    rates = IsotonicRegression(y_min=0, y_max=1).fit_transform(x, y)
    return dict(zip(keys, rates.tolist(), strict=True))


def _twin(
    key: Key, near: Mapping[int, float], relevant: Sequence[int], collection: Collection
) -> tuple[float, int]:
    """Return the relevant document that this one is most like, and how much; 0 and -1 if none."""
    alike = [(near[row], row) for row in relevant if row in near]
    if not alike:
        return 0.0, -1

    def count(text: str) -> Counter[str]:
        return Counter(READ_WORDS.findall(normalise(text)))

    asked, held = count(collection.queries[key[0]]), count(collection.documents[key[1]])
    same = []
    for similarity, row in alike:
        wanted = count(collection.documents[row])
        if all(held[word] >= wanted[word] for word in asked):
            same.append((similarity, row))
    return max(same, default=(0.0, -1))
