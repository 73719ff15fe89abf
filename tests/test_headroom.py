"""What a perfect reranker would reach, against trying all orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.collection import Judgements
from harness.runs.headroom import Gap, oracle, perfect_order, split_gap
from harness.runs.metrics import Metric, parse_metric, score
from harness.runs.run import Run, rank

METRICS = [parse_metric(text) for text in ("ndcg@3", "mrr@3", "recall@2", "ndcg@10")]


def random_run(seed: int, *, n: int = 6, documents: int = 12, depth: int = 8) -> Run:
    rng = np.random.default_rng(seed)
    rows = np.array([rng.permutation(documents)[:depth] for _ in range(n)])
    rows[0, 3:] = -1
    rows[1] = -1
    return rank(rows, rng.random(rows.shape), depth=depth)


def random_judgements(seed: int, *, n: int = 6, documents: int = 12) -> Judgements:
    rng = np.random.default_rng(seed)
    rows = [
        (query, document, rng.integers(0, 4))
        for query in range(n)
        for document in sorted(rng.choice(documents, 4, replace=False))
    ]
    rows += [(query, -1, 1) for query in range(n)]
    columns = np.array(sorted(rows), dtype=np.int32).T
    return Judgements(*columns)


@pytest.mark.parametrize("metric", METRICS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_oracle_is_the_best_of_all_orders(metric: Metric, seed: int):
    run, judgements, depth = random_run(seed), random_judgements(seed), 5
    found = oracle(run, judgements, metric, depth=depth, n_queries=6)
    best = np.zeros(6)
    for order in itertools.permutations(range(depth)):
        cut = np.array(run.documents[:, :depth])[:, order]
        tried = rank(cut, np.tile(np.arange(depth, 0, -1), (6, 1)), depth=depth)
        values = score(tried, judgements, [metric], n_queries=6).values[str(metric)]
        best = np.maximum(best, values)
    assert found == pytest.approx(best)


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_oracle_is_never_below_the_run_and_grows_with_the_depth(metric: Metric):
    for seed in range(20):
        run, judgements = random_run(seed), random_judgements(seed)
        achieved = score(run, judgements, [metric], n_queries=6).values[str(metric)]
        ceilings = [oracle(run, judgements, metric, depth=k, n_queries=6) for k in (2, 4, 8)]
        assert (ceilings[-1] >= achieved - 1e-12).all()
        assert all((deep >= flat - 1e-12).all() for flat, deep in itertools.pairwise(ceilings))


def test_perfect_order_keeps_the_runs_order_within_a_grade():
    run = rank(np.array([[5, 9, 2, 7, 1]]), np.array([[0.9, 0.8, 0.7, 0.6, 0.5]]), depth=5)
    judgements = Judgements(*np.array([[0, 0, 0, 0], [1, 2, 7, 9], [1, 2, 1, 0]], dtype=np.int32))
    assert perfect_order(run, judgements, depth=5).documents.tolist() == [[2, 7, 1, 5, 9]]
    assert perfect_order(run, judgements, depth=3).documents.tolist() == [[2, 5, 9]]


def test_perfect_order_of_a_deep_run_keeps_ties_in_order():
    documents = np.random.default_rng(0).permutation(5000)[None, :2048]
    run = rank(documents, np.arange(2048, 0, -1)[None], depth=2048)
    judgements = Judgements(*np.array([[0], [int(documents[0, -1])], [3]], dtype=np.int32))
    found = perfect_order(run, judgements, depth=2048).documents[0]
    assert found.tolist() == [documents[0, -1], *documents[0, :-1]]


def test_split_adds_up_to_one():
    rng = np.random.default_rng(1)
    achieved = rng.random(50)
    gap = split_gap(achieved, achieved + (1 - achieved) * rng.random(50), depth=100)
    assert gap.achieved + gap.ordering_loss + gap.first_stage_loss == pytest.approx(1)
    assert split_gap(np.ones(3), np.ones(3), depth=100) == Gap(1.0, 0.0, 0.0, 100)
