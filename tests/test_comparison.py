"""A candidate against the baseline and against its parent."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from harness.comparison import Edge, compare
from harness.errors import ExitCode, HarnessError
from harness.metrics import Metric, Scorecard
from harness.statistics import paired

NDCG, RECALL = Metric("ndcg", 10), Metric("recall", 100)


def scorecard(*, seed: int, lift: float = 0.0, n: int = 80):
    rng = np.random.default_rng(seed)
    return Scorecard(
        values={
            str(metric): np.clip(rng.normal(0.5 + lift, 0.2, n), 0, 1) for metric in (NDCG, RECALL)
        },
        judged_at_10=np.ones(n),
        missing=np.zeros(n, dtype=bool),
    )


CARDS = {
    "minilm": scorecard(seed=1),
    "minilm/128": scorecard(seed=2, lift=-0.2),
    "bge": scorecard(seed=3, lift=0.2),
}
EDGES = [("minilm/128", "minilm", "parent"), ("bge", "minilm", "baseline")]


def compared(
    cards: Mapping[str, Scorecard] = CARDS,
    edges: Sequence[Edge] = EDGES,
    metrics: Sequence[Metric] = (NDCG, RECALL),
    *,
    collection: str = "scifact",
    seed: int = 13,
):
    return compare(cards, edges, metrics, collection=collection, seed=seed)


def test_every_metric_has_every_edge_in_order():
    found = [(c.metric, c.candidate, c.reference, c.role, c.collection) for c in compared()]
    assert found == [
        ("ndcg@10", "minilm/128", "minilm", "parent", "scifact"),
        ("ndcg@10", "bge", "minilm", "baseline", "scifact"),
        ("recall@100", "minilm/128", "minilm", "parent", "scifact"),
        ("recall@100", "bge", "minilm", "baseline", "scifact"),
    ]


def test_difference_is_candidate_minus_reference():
    worse, better, *_ = compared()
    assert worse.high < 0 < better.low
    assert worse.p < 0.001
    assert better.difference == pytest.approx(better.candidate_mean - better.reference_mean)
    assert better.wins > better.losses
    assert better.wins + better.ties + better.losses == better.n == 80


def test_values_are_those_of_the_paired_test():
    better = compared()[1]
    differences = CARDS["bge"].values["ndcg@10"] - CARDS["minilm"].values["ndcg@10"]
    tests = paired(differences[:, None], seed=0)
    for name in ("difference", "low", "high", "effect_size", "mde"):
        assert getattr(better, name) == pytest.approx(getattr(tests, name)[0], abs=1e-15)


def test_adding_a_candidate_to_another_family_changes_no_other_comparison():
    assert compared(edges=EDGES[1:]) == tuple(c for c in compared() if c.candidate == "bge")


def test_adding_a_candidate_to_the_family_changes_nothing_but_its_adjusted_p():
    more = [*EDGES, ("minilm/128", "minilm", "baseline")]
    [alone, _] = compared(edges=EDGES[1:])
    [_, among, *_] = compared(edges=more)
    assert dataclasses.replace(among, p_adjusted=alone.p_adjusted) == alone


def test_p_is_adjusted_for_the_size_of_the_family():
    equal = {f"c{seed}": scorecard(seed=seed) for seed in range(40)}
    edges: list[Edge] = [(name, "c0", "baseline") for name in list(equal)[1:]]
    found = compared(equal, edges, metrics=[NDCG])
    assert min(c.p for c in found) < 0.05
    assert min(c.p_adjusted for c in found) > 0.05
    assert all(c.p_adjusted >= c.p for c in found)


def test_a_family_of_one_needs_no_adjustment():
    [better, _] = compared(edges=EDGES[1:])
    assert better.p_adjusted == pytest.approx(better.p, abs=0.01)


def test_swapping_the_two_mirrors_the_result():
    there, back = compared(edges=[("bge", "minilm", "baseline"), ("minilm", "bge", "baseline")])[:2]
    assert (there.difference, there.low, there.wins) == (-back.difference, -back.high, back.losses)
    assert there.p == back.p


def test_candidate_against_itself_is_no_difference():
    same = compared(edges=[("bge", "bge", "baseline")])[0]
    assert (same.difference, same.p, same.ties, same.effect_size) == (0, 1, 80, 0)


def test_seed_and_collection_decide_the_sign_flips():
    cards = {"a": scorecard(seed=1), "b": scorecard(seed=2)}
    edges = [("a", "b", "baseline")]
    p = [
        compared(cards, edges, collection=collection, seed=seed)[0].p
        for collection, seed in (("x", 1), ("x", 1), ("x", 2), ("y", 1))
    ]
    assert p[0] == p[1]
    assert len(set(p)) == 3


def test_json_form_holds_plain_finite_values():
    records = [dataclasses.asdict(comparison) for comparison in compared()]
    assert json.loads(json.dumps(records, allow_nan=False)) == records


def test_json_form_is_finite_even_where_all_queries_differ_alike():
    cards = {
        name: Scorecard({"ndcg@10": np.full(3, value)}, np.ones(3), np.zeros(3, dtype=bool))
        for name, value in (("a", 1.0), ("b", 0.0))
    }
    found = compared(cards, [("a", "b", "baseline")], [NDCG])
    json.dumps(dataclasses.asdict(found[0]), allow_nan=False)


def test_single_query_is_refused_with_the_fix():
    cards = {"a": scorecard(seed=1, n=1), "b": scorecard(seed=2, n=1)}
    with pytest.raises(HarnessError) as raised:
        compared(cards, [("a", "b", "baseline")])
    assert raised.value.exit_code == ExitCode.DATA
    assert str(raised.value) == (
        "collection 'scifact': a paired comparison needs 2 judged queries or more, got 1. "
        "Add queries with judgements."
    )


def test_no_edge_is_no_comparison():
    assert compared(edges=[]) == ()
