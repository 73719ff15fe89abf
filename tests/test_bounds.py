from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from harness.collection import Collection, Judgements
from harness.diagnosis.bounds import Unknown
from harness.runs.metrics import parse_metric, score
from harness.runs.run import Run

METRICS = ["ndcg@3", "recall@3", "mrr@3", "map@3", "precision@3", "hit_rate@3"]


def collection(judged: list[tuple[int, int, int]], *, queries: int, documents: int) -> Collection:
    judged = sorted(judged)
    return Collection(
        name="small",
        split="test",
        document_ids=tuple(f"d{row}" for row in range(documents)),
        documents=tuple(f"text {row}" for row in range(documents)),
        query_ids=tuple(f"q{row}" for row in range(queries)),
        queries=tuple(f"query {row}" for row in range(queries)),
        judgements=Judgements(
            *(np.array(part, dtype=np.int32) for part in zip(*judged, strict=True))
        ),
    )


def ranking(*lists: list[int]) -> Run:
    rows = np.array(lists, dtype=np.int32)
    return Run(rows, np.where(rows < 0, 0, np.arange(rows.shape[1], 0, -1)).astype(np.float32))


def subsets(items: list[int]) -> list[tuple[int, ...]]:
    return list(chain.from_iterable(combinations(items, size) for size in range(len(items) + 1)))


def values(run: Run, texts: Collection, metric: str, extra: tuple[int, ...]) -> float:
    judged = texts.judgements
    more = Judgements(
        np.concatenate([judged.queries, np.zeros(len(extra), np.int32)]),
        np.concatenate([judged.documents, np.array(extra, np.int32)]),
        np.concatenate([judged.grades, np.ones(len(extra), np.int32)]),
    )
    card = score(run, more, [parse_metric(metric)], n_queries=1)
    return float(card.values[metric][0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(12))
def test_bounds_are_those_of_every_way_to_judge_the_rest(metric: str, seed: int):
    draw = np.random.default_rng(seed)
    runs = {name: ranking(draw.permutation(7)[:4].tolist()) for name in ("a", "b")}
    judged = draw.permutation(7)[:3]
    texts = collection(
        [(0, int(row), int(place == 0)) for place, row in enumerate(judged)],
        queries=1,
        documents=7,
    )
    pool = {int(row) for run in runs.values() for row in run.documents[0, :3]} - set(
        judged.tolist()
    )
    for found in Unknown(runs, texts, parse_metric(metric)).bounds():
        every = [values(runs[found.candidate], texts, metric, extra) for extra in subsets([*pool])]
        assert found.mean == pytest.approx(every[0])
        assert found.low == pytest.approx(min(every))
        assert found.high == pytest.approx(max(every))


@pytest.mark.parametrize("seed", range(20))
def test_a_reversal_needs_as_few_documents_as_any_way_to_judge_them(seed: int):
    draw = np.random.default_rng(seed)
    runs = {name: ranking(draw.permutation(6)[:3].tolist()) for name in ("a", "b")}
    texts = collection([(0, int(draw.integers(6)), 1)], queries=1, documents=6)
    unknown = Unknown(runs, texts, parse_metric("ndcg@3"))
    pool = {int(row) for run in runs.values() for row in run.documents[0]}
    pool -= set(texts.judgements.documents.tolist())
    as_judged = {name: values(run, texts, "ndcg@3", ()) for name, run in runs.items()}
    found = unknown.reversal("a", "b")
    if as_judged["a"] == as_judged["b"]:
        assert found is None
        return
    better = max(as_judged, key=as_judged.__getitem__)
    worse = "a" if better == "b" else "b"
    turning = [
        len(extra)
        for extra in subsets([*pool])
        if values(runs[better], texts, "ndcg@3", extra)
        <= values(runs[worse], texts, "ndcg@3", extra) + 1e-12
    ]
    assert (found.needed if found else None) == (min(turning) if turning else None)


def test_a_lead_on_judged_documents_alone_is_never_turned():
    texts = collection([(0, 0, 1), (0, 1, 0), (0, 2, 0)], queries=1, documents=3)
    runs = {"a": ranking([0, 1, 2]), "b": ranking([1, 0, 2])}
    assert Unknown(runs, texts, parse_metric("ndcg@3")).reversal("a", "b") is None


def test_a_reversal_says_how_little_it_takes():
    judged = [(query, 0, 1) for query in range(10)]
    texts = collection(judged, queries=10, documents=4)
    runs = {"a": ranking(*[[0, 1, 2]] * 10), "b": ranking(*[[3, 0, 1]] * 10)}
    found = Unknown(runs, texts, parse_metric("mrr@3")).reversal("b", "a")
    assert found is not None
    assert (found.better, found.worse, found.needed, found.unjudged) == ("a", "b", 10, 10)
    assert found.sentence == (
        "'a' leads 'b' by 0.500 mrr@3; the lead vanishes if 10 of the 10 unjudged results (a query "
        "and a document) that 'b' ranks higher are relevant (100.0%) and no others."
    )
