"""Which pairs are judged, and what estimates from few judgements are worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.collection import NO_GRADE, Judgements
from harness.errors import HarnessError
from harness.judging.design import Design, design
from harness.judging.estimates import (
    Sample,
    estimate_difference,
    judgements_needed,
    prefix_scores,
)
from harness.runs.metrics import Metric, parse_metric, score
from harness.runs.run import Run
from harness.statistics import paired

EMPTY = np.empty(0, dtype=np.int32)
NOTHING = Judgements(EMPTY, EMPTY, EMPTY)
NDCG = parse_metric("ndcg@5")
Runs = dict[str, Run]
PAIR = ("old", "new")
N, DOCUMENTS = 40, 30


def ranked(rng: np.random.Generator, n: int = N) -> Run:
    lists = np.argsort(rng.random((n, DOCUMENTS)), axis=1)[:, :8].astype(np.int32)
    return Run(lists, np.tile(np.arange(8, 0, -1, dtype=np.float32), (n, 1)))


@pytest.fixture(scope="module")
def runs() -> Runs:
    rng = np.random.default_rng(3)
    return {"old": ranked(rng), "new": ranked(rng)}


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Grades 0 to 2 of every document, int [n_queries, n_documents]."""
    return np.random.default_rng(4).choice([0, 1, 2], (N, DOCUMENTS), p=[0.7, 0.2, 0.1])


def planned(runs: Runs, known: Judgements = NOTHING) -> Design:
    return design(runs, [PAIR], NDCG, known, rng=np.random.default_rng(5))


def grades_in(plan: Design, truth: np.ndarray) -> np.ndarray:
    return np.take_along_axis(truth, np.maximum(plan.documents, 0).astype(np.int64), axis=1)


def differences(
    plan: Design,
    runs: Runs,
    truth: np.ndarray,
    metric: Metric = NDCG,
    fill: np.ndarray | None = None,
) -> np.ndarray:
    grades = grades_in(plan, truth)
    fill = np.zeros_like(grades) if fill is None else fill
    scores = prefix_scores(plan, [runs["old"], runs["new"]], metric, grades, fill=fill)
    return scores[..., 1] - scores[..., 0]


def drawn(plan: Design, seed: int) -> Design:
    return replace(plan, numbers=1 - np.random.default_rng(seed).random(len(plan.sizes)))


def test_the_pool_holds_the_first_documents_of_both_and_none_that_is_known(runs: Runs):
    known = Judgements(*(np.array(x, np.int32) for x in ([0], [runs["old"].documents[0, 0]], [1])))
    pool = set(planned(runs, known).documents[0].tolist()) - {-1}
    tops = {*runs["old"].documents[0, :5].tolist(), *runs["new"].documents[0, :5].tolist()}
    assert pool == tops - {int(runs["old"].documents[0, 0])}


def test_what_is_judged_of_a_query_are_the_first_documents_of_its_pool(runs: Runs):
    plan = planned(runs)
    queries, places = plan.order
    assert len(queries) == plan.n_pairs == (plan.documents >= 0).sum()
    for count in (7, 60, plan.n_pairs):
        depths = Sample.after(plan, count).depths
        assert depths.sum() == count
        assert all(places[:count][queries[:count] == q].max(initial=-1) < depths[q] for q in (0, 9))


def test_pairs_are_judged_as_often_as_their_chances_say(runs: Runs):
    plan = planned(runs)
    time = plan.time_after(60)
    often = np.mean([drawn(plan, seed).times < time for seed in range(2000)], axis=0)
    assert np.abs(often - plan.chances(time)).max() < 0.05


@pytest.mark.parametrize("name", ["ndcg@5", "recall@5", "mrr@5", "rbp(0.8)@5"])
@pytest.mark.parametrize("fill_grade", [0, 1])
def test_the_estimate_is_right_in_the_mean_whatever_the_metric_and_the_fill(
    runs: Runs, truth: np.ndarray, name: str, fill_grade: int
):
    plan = planned(runs)
    fill = np.full_like(plan.documents, fill_grade)
    values = differences(plan, runs, truth, parse_metric(name), fill)
    found = [
        estimate_difference(Sample.after(drawn(plan, seed), 80), values).difference
        for seed in range(400)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(values[:, -1].mean(), abs=4 * error)


def test_all_judgements_give_the_paired_interval(runs: Runs, truth: np.ndarray):
    plan = planned(runs)
    found = estimate_difference(Sample.after(plan, plan.n_pairs), differences(plan, runs, truth))
    queries, documents = np.nonzero(truth >= 0)
    in_pool = np.array([d in plan.documents[q] for q, d in zip(queries, documents, strict=True)])
    judged = Judgements(
        queries[in_pool].astype(np.int32),
        documents[in_pool].astype(np.int32),
        truth[queries, documents][in_pool].astype(np.int32),
    )
    old, new = (
        score(runs[name], judged, [NDCG], n_queries=N).values["ndcg@5"] for name in ("old", "new")
    )
    plain = paired((new - old)[:, None], seed=1, permutations=10)
    assert found.values == pytest.approx(new - old)
    assert [found.difference, found.low, found.high, found.se] == pytest.approx(
        [plain.difference[0], plain.low[0], plain.high[0], plain.se[0]]
    )


def test_known_judgements_count_and_are_not_judged_again(runs: Runs, truth: np.ndarray):
    rows = np.arange(N, dtype=np.int32)
    first = runs["old"].documents[:, 0]
    known = Judgements(rows, first, truth[rows, first].astype(np.int32))
    plan, fresh = planned(runs, known), planned(runs)
    whole = differences(plan, runs, truth)[:, -1]
    assert whole == pytest.approx(differences(fresh, runs, truth)[:, -1])
    assert not (plan.documents == first[:, None]).any()


def test_unanswered_places_keep_the_fill(runs: Runs, truth: np.ndarray):
    plan = planned(runs)
    some = np.where(np.arange(plan.documents.shape[1]) < 2, grades_in(plan, truth), NO_GRADE)
    fill = np.zeros_like(some)
    scores = prefix_scores(plan, [runs["old"]], NDCG, some, fill=fill)[..., 0]
    whole = prefix_scores(plan, [runs["old"]], NDCG, grades_in(plan, truth), fill=fill)[..., 0]
    assert scores[:, :3] == pytest.approx(whole[:, :3])
    assert scores[:, 2:] == pytest.approx(np.repeat(scores[:, 2:3], scores.shape[1] - 2, axis=1))


def test_same_rankings_need_no_judgement(runs: Runs):
    plan = design(
        {"old": runs["old"], "new": runs["old"]}, [PAIR], NDCG, NOTHING, rng=np.random.default_rng()
    )
    assert plan.n_pairs == 0
    nothing = np.zeros((N, plan.documents.shape[1] + 1))
    found = estimate_difference(Sample.after(plan, 0), nothing)
    assert (found.difference, found.low, found.high) == (0, 0, 0)


def test_few_answers_give_no_interval_and_no_difference_seen_is_no_proof_of_none(runs: Runs):
    plan = planned(runs)
    nothing = np.zeros((N, plan.documents.shape[1] + 1))
    assert estimate_difference(Sample.after(plan, 3), nothing).high == np.inf
    found = estimate_difference(Sample.after(plan, 30), nothing)
    assert found.low < -0.05 < 0.05 < found.high


@pytest.mark.parametrize("count", [60, 120])
def test_a_model_that_always_says_relevant_widens_the_error_by_little(
    runs: Runs, truth: np.ndarray, count: int
):
    plan = planned(runs)
    human = differences(plan, runs, truth)
    model = differences(plan, runs, truth, fill=np.ones_like(plan.documents))
    ratios = []
    for seed in range(100):
        sample = Sample.after(drawn(plan, seed), count)
        ratios.append(
            estimate_difference(sample, human, model).se / estimate_difference(sample, human).se
        )
    assert np.mean(ratios) < 1.05


def test_a_perfect_model_leaves_only_the_spread_of_the_queries(runs: Runs, truth: np.ndarray):
    plan = planned(runs)
    human = differences(plan, runs, truth)
    perfect = differences(plan, runs, truth, fill=grades_in(plan, truth))
    found = estimate_difference(Sample.after(plan, 120), human, perfect)
    assert found.weight > 0.9
    assert found.difference == pytest.approx(human[:, -1].mean(), abs=0.02)
    assert found.se < estimate_difference(Sample.after(plan, 120), human).se


def test_fewer_judgements_are_needed_for_a_larger_difference(runs: Runs):
    plan = planned(runs)
    few, many = (judgements_needed(plan, size, count=30, se=0.1) for size in (0.3, 0.2))
    assert few is not None
    assert many is not None
    assert few < many
    assert judgements_needed(plan, 0.001, count=30, se=0.1) is None


def test_a_metric_that_fills_a_prompt_is_refused(runs: Runs):
    with pytest.raises(HarnessError, match="cutoff at a rank"):
        design(
            runs,
            [PAIR],
            parse_metric("context_recall@100t"),
            NOTHING,
            rng=np.random.default_rng(0),
        )
