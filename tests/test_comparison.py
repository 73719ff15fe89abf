"""A candidate against the baseline and against its parent."""

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from harness.errors import ExitCode, HarnessError
from harness.results.comparison import Edge, Overall, Sizes, compare, compare_overall
from harness.runs.metrics import Metric, Scorecard
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
    return compare(cards, edges, metrics, collection=collection, seed=seed, sizes=Sizes(0.01, 0.01))


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
    for name in ("difference", "low", "high", "effect_size"):
        assert getattr(better, name) == pytest.approx(getattr(tests, name)[0], abs=1e-15)
    assert tests.mde[0] < better.mde < 1.02 * tests.mde[0]  # of a family, here of one


def test_adding_a_candidate_to_another_family_changes_no_other_comparison():
    assert compared(edges=EDGES[1:]) == tuple(c for c in compared() if c.candidate == "bge")


def test_adding_a_candidate_changes_nothing_but_what_is_said_of_the_family():
    more = [*EDGES, ("minilm/128", "minilm", "baseline")]
    [alone, _] = compared(edges=EDGES[1:])
    [_, among, *_] = compared(edges=more)
    of_the_family = ("family_low", "family_high", "p_adjusted", "p_holm", "mde", "verdict")
    kept = {name: getattr(alone, name) for name in of_the_family}
    assert dataclasses.replace(among, **kept) == alone


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


def with_differences(differences: np.ndarray) -> Mapping[str, Scorecard]:
    n = len(differences)
    return {
        name: Scorecard({"ndcg@10": values}, np.ones(n), np.zeros(n, dtype=bool))
        for name, values in (("new", 0.5 + differences), ("old", np.full(n, 0.5)))
    }


NEW = [("new", "old", "baseline")]


def verdict_of(differences: np.ndarray, clusters: np.ndarray | None = None):
    cards = with_differences(differences)
    sizes = Sizes(0.01, 0.01)
    [found] = compare(cards, NEW, [NDCG], collection="x", seed=13, sizes=sizes, clusters=clusters)
    return found


@pytest.mark.parametrize(
    ("mean", "sd", "n", "verdict"),
    [
        (0.05, 0.1, 400, "better"),
        (-0.05, 0.1, 400, "worse"),
        (0.0, 0.01, 1000, "equivalent"),
        (0.01, 0.3, 60, "inconclusive"),
    ],
)
def test_there_are_four_verdicts(mean: float, sd: float, n: int, verdict: str):
    noise = np.random.default_rng(7).normal(0, 1, n)
    differences = mean + sd * (noise - noise.mean()) / noise.std()
    found = verdict_of(np.clip(differences, -0.5, 0.5))
    assert found.verdict == verdict
    assert (found.more_queries > 0) == (verdict == "inconclusive")
    assert found.family_low <= found.difference <= found.family_high


def test_two_queries_with_the_same_gain_are_inconclusive():
    assert verdict_of(np.array([0.1, 0.1])).verdict == "inconclusive"


@pytest.mark.parametrize(
    "seen", [[0.1, 0.1], [0.02] * 5, [0.3, 0.0, 0.0, 0.0], [0.01] * 39 + [-0.4]]
)
def test_as_many_more_queries_as_are_named_settle_it_if_they_are_alike(seen: list[float]):
    found = verdict_of(np.array(seen))
    assert (found.verdict, found.more_queries > 3) == ("inconclusive", True)
    times = -(-(found.n + found.more_queries) // found.n)
    assert verdict_of(np.array(seen * times)).verdict != "inconclusive"


def test_queries_of_one_cluster_are_no_independent_evidence():
    draws = np.random.default_rng(3).normal(0.03, 0.1, 40)
    repeated = np.clip(np.repeat(draws, 25), -0.5, 0.5)
    alone = verdict_of(repeated)
    together = verdict_of(repeated, clusters=np.repeat(np.arange(40), 25))
    assert alone.verdict == "better"
    assert together.verdict == "inconclusive"
    assert together.difference == pytest.approx(alone.difference)
    assert together.high - together.low > 4 * (alone.high - alone.low)
    assert together.p > alone.p
    assert together.more_queries > 1000


def test_what_the_mean_hides_is_told():
    found = verdict_of(np.repeat([0.05, -0.5], [380, 20]))
    assert found.difference > 0
    assert found.severe == 0.05
    assert found.worst_decile == pytest.approx(-0.225)
    assert found.u_risk == pytest.approx(0.0475 - 0.05)
    assert 0 <= found.p_loss < found.p_gain <= 1


def test_several_collections_count_alike_and_real_gains_are_named():
    rng = np.random.default_rng(5)
    cards = {
        "large": with_differences(np.clip(rng.normal(0.0, 0.1, 2000), -0.5, 0.5)),
        "small": with_differences(np.clip(rng.normal(0.2, 0.1, 100), -0.5, 0.5)),
        "lost": with_differences(np.clip(rng.normal(-0.1, 0.1, 300), -0.5, 0.5)),
    }
    [found] = compare_overall(
        cards, NEW, [NDCG], seed=13, sizes=Sizes(0.01, 0.01), clusters=dict.fromkeys(cards)
    )
    assert isinstance(found, Overall)
    means = [np.mean(each["new"].values["ndcg@10"] - 0.5) for each in cards.values()]
    assert found.difference == pytest.approx(np.mean(means))
    assert found.low < found.difference < found.high
    assert (found.collections, found.n) == (3, 2400)
    assert (found.gains, found.losses) == (["small"], ["lost"])


def test_no_edge_is_no_comparison():
    assert compared(edges=[]) == ()
