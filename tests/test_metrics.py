"""Metric names, and what the values mean in cases small enough to work out by hand."""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from harness.collection import Judgements
from harness.errors import ExitCode, HarnessError
from harness.runs.metrics import FAMILIES, Family, Metric, parse_metric, score
from harness.runs.run import Run


def judgements(*rows: tuple[int, int, int]):
    """Rows of (query, document, grade)."""
    columns = np.array(sorted(rows), dtype=np.int32).reshape(-1, 3)
    return Judgements(columns[:, 0], columns[:, 1], columns[:, 2])


def ranking(*lists: list[int]):
    width = max(map(len, lists))
    documents = np.array([[*found, *[-1] * (width - len(found))] for found in lists], np.int32)
    scores = np.where(documents < 0, 0, np.arange(width, 0, -1)).astype(np.float32)
    return Run(documents.reshape(len(lists), width), scores.reshape(len(lists), width))


def values(run: Run, judged: Judgements, *names: str):
    card = score(run, judged, [parse_metric(name) for name in names], n_queries=len(run.documents))
    return [card.values[name].tolist() for name in names]


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("ndcg@10", "ndcg@10"),
        ("ndcg_at_10", "ndcg@10"),
        ("nDCG@10", "ndcg@10"),
        ("ndcg_cut_10", "ndcg@10"),
        ("recall@100-l2", "recall@100-l2"),
        ("recall@100-l1", "recall@100"),
        ("recall_at_100", "recall@100"),
        ("recall_100", "recall@100"),
        ("R@100", "recall@100"),
        ("R(rel=2)@100", "recall@100-l2"),
        ("RR@10", "mrr@10"),
        ("mrr_at_10", "mrr@10"),
        ("AP@100", "map@100"),
        ("map_cut_100", "map@100"),
        ("P@10", "precision@10"),
        ("P_10", "precision@10"),
        ("precision_at_3", "precision@3"),
        ("Success@10", "hit_rate@10"),
        ("success_10", "hit_rate@10"),
        ("hit_rate_at_5", "hit_rate@5"),
        (" ndcg@10 ", "ndcg@10"),
        ("rbp(0.8)@10", "rbp(0.8)@10"),
        ("RBP(p=.80)@10", "rbp(0.8)@10"),
        ("RBP(rel=2,p=0.8)@10", "rbp(0.8)@10-l2"),
        ("rbp(0.950)_at_100", "rbp(0.95)@100"),
    ],
)
def test_name_of_any_tool_becomes_the_one_canonical_text(name: str, canonical: str):
    assert str(parse_metric(name)) == canonical


@pytest.mark.parametrize("family", FAMILIES)
def test_both_spellings_are_read_back_as_the_same_value(family: str):
    takes = FAMILIES[family].parameter
    level = 2 if FAMILIES[family].has_level else 1
    metric = Metric(family, 20, level, takes.usual if takes else None)
    assert parse_metric(str(metric)) == metric
    assert parse_metric(metric.mteb_name) == metric


def test_mteb_spelling_is_that_of_its_result_files():
    assert parse_metric("ndcg@10").mteb_name == "ndcg_at_10"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ndgc@10", "metric 'ndgc@10': unknown name 'ndgc'. Did you mean 'ndcg'?"),
        ("ndcg", "metric 'ndcg': has no cutoff, got the name alone. Write 'ndcg@10'."),
        ("recip_rank", "metric 'recip_rank': has no cutoff, got the name alone. Write 'mrr@10'."),
        ("recall@0", "metric 'recall@0': cutoff 0 is not possible. The smallest is 1."),
        ("recall@5-l0", "metric 'recall@5-l0': level 0 is not possible. The smallest is 1."),
        (
            "ndcg@10-l2",
            (
                "metric 'ndcg@10-l2': ndcg counts every grade as its gain and has no level, got 2. "
                "Write 'ndcg@10'."
            ),
        ),
        (
            "ndcg@ten",
            "metric 'ndcg@ten': is not in the form name@cutoff. Write for example 'ndcg@10'.",
        ),
        ("rbp@10", "metric 'rbp@10': has no p, got none in brackets. Write 'rbp(0.8)@10'."),
        (
            "rbp(1.5)@10",
            (
                "metric 'rbp(1.5)@10': p 1.5 is not possible. It lies between 0 and 1: "
                "write 'rbp(0.8)@10'."
            ),
        ),
        (
            "rbp(q=0.5)@10",
            "metric 'rbp(q=0.5)@10': rbp does not take 'q=0.5'. Write 'rbp(0.8)@10'.",
        ),
        ("ndcg(0.5)@10", "metric 'ndcg(0.5)@10': ndcg does not take '0.5'. Write 'ndcg@10'."),
        ("", "metric '': is not in the form name@cutoff. Write for example 'ndcg@10'."),
    ],
)
def test_wrong_name_is_told_with_its_fix(name: str, sentence: str):
    with pytest.raises(HarnessError) as raised:
        parse_metric(name)
    assert str(raised.value) == sentence
    assert raised.value.exit_code == ExitCode.USAGE


def test_values_are_those_worked_out_by_hand():
    judged = judgements((0, 5, 2), (0, 7, 1), (0, 9, 1), (0, 3, 0))
    run = ranking([3, 7, 4, 5])
    ideal = 2 + 1 / np.log2(3) + 1 / np.log2(4)
    expected = {
        "ndcg@10": (1 / np.log2(3) + 2 / np.log2(5)) / ideal,
        "recall@10": 2 / 3,
        "mrr@10": 1 / 2,
        "map@10": (1 / 2 + 2 / 4) / 3,
        "precision@10": 2 / 10,
        "hit_rate@10": 1.0,
        "ndcg@3": (1 / np.log2(3)) / ideal,
        "recall@1": 0.0,
        "mrr@1": 0.0,
        "hit_rate@1": 0.0,
        "recall@10-l2": 1.0,
        "mrr@10-l2": 1 / 4,
        "map@10-l2": 1 / 4,
        "precision@4-l2": 1 / 4,
        "recall@10-l3": 0.0,
        "rbp(0.5)@10": 0.5 * (0.5 + 0.5**3),
        "rbp(0.5)@10-l2": 0.5 * 0.5**3,
    }
    assert values(run, judged, *expected) == [
        [pytest.approx(x, abs=1e-15)] for x in expected.values()
    ]


def test_a_metric_that_nothing_computes_is_refused_where_it_is_written():
    with pytest.raises(TypeError, match="one of of_ranks and of_prompt"):
        Family(definition="nothing")


def test_the_description_of_a_metric_lists_every_family():
    assert all(f"`{name}`: " in str(Metric.__doc__) for name in FAMILIES)


def test_missing_query_scores_zero_and_is_counted():
    run = ranking([5], [])
    card = score(run, judgements((0, 5, 1), (1, 5, 1)), [Metric("mrr", 10)], n_queries=2)
    assert card.values["mrr@10"].tolist() == [1, 0]
    assert card.missing.tolist() == [False, True]
    assert card.n_queries == 2


def test_query_without_relevant_documents_scores_zero():
    run = ranking([5], [5], [5])
    judged = judgements((0, 5, 0), (1, 5, -2))
    assert values(run, judged, "ndcg@10", "recall@10", "map@10") == [[0, 0, 0]] * 3


def test_negative_grade_is_judged_and_gains_nothing():
    judged = judgements((0, 5, -2), (0, 6, 1))
    assert values(ranking([5, 6]), judged, "ndcg@10", "recall@10") == [
        [pytest.approx(1 / np.log2(3))],
        [1],
    ]


def test_judged_documents_outside_the_corpus_stay_in_the_denominator():
    judged = judgements((0, -1, 3), (0, -1, 1), (0, 5, 1))
    ideal = 3 + 1 / np.log2(3) + 1 / np.log2(4)
    run = ranking([5, 6, 7])
    assert values(run, judged, "recall@10", "ndcg@10") == [
        [pytest.approx(1 / 3)],
        [pytest.approx(1 / ideal)],
    ]


def test_empty_place_matches_no_judged_document_outside_the_corpus():
    assert values(ranking([5], []), judgements((0, 5, 1), (1, -1, 1)), "recall@10") == [[1, 0]]


def test_run_of_depth_zero_scores_zero():
    run = Run(np.empty((2, 0), np.int32), np.empty((2, 0), np.float32))
    card = score(run, judgements((0, 1, 1), (1, 2, 1)), [Metric("ndcg", 10)], n_queries=2)
    assert card.values["ndcg@10"].tolist() == [0, 0]
    assert card.missing.all()
    assert card.judged_at_10.tolist() == [0, 0]


def test_only_the_first_ranks_up_to_the_cutoff_count():
    assert values(ranking([1, 2, 3]), judgements((0, 3, 1)), "recall@2", "recall@3") == [[0], [1]]


def test_judged_share_counts_any_grade_over_what_was_returned():
    judged = judgements((0, 1, 1), (0, 2, 0), (0, 3, -1), (1, 4, 1), (2, 1, 1))
    run = ranking([1, 2, 3, 4], [1, 4], [])
    card = score(run, judged, [Metric("ndcg", 10)], n_queries=3)
    assert card.judged_at_10.tolist() == [0.75, 0.5, 0.0]


def test_judged_share_looks_at_ten_ranks_only():
    run = ranking([*range(10, 20), 1])
    assert score(run, judgements((0, 1, 1)), [Metric("mrr", 100)], n_queries=1).judged_at_10 == [0]


def test_one_query_with_thousands_of_judgements_widens_no_other():
    many = [(7, document, 1 + document % 3) for document in range(5000)]
    judged = judgements(*many, *((query, query, 1) for query in range(2000) if query != 7))
    documents = np.tile(np.arange(1000, dtype=np.int32), (2000, 1))
    run = Run(documents, np.tile(np.arange(1000, 0, -1, dtype=np.float32), (2000, 1)))
    recall, reciprocal = values(run, judged, "recall@1000", "mrr@10")
    assert recall[7] == pytest.approx(1000 / 5000)
    assert [recall[0], recall[999], recall[1000]] == [1, 1, 0]
    assert reciprocal[:3] == [1, 1 / 2, 1 / 3]


def test_few_queries_leave_the_number_of_threads_alone():
    before = numba.get_num_threads()
    values(ranking([1]), judgements((0, 1, 1)), "ndcg@10")
    assert numba.get_num_threads() == before


def test_several_threads_may_score_at_once():
    run, judged = ranking(*[[query, 3] for query in range(50)]), judgements((3, 3, 1))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: values(run, judged, "mrr@10"), range(20)))
    assert found == [found[0]] * 20


def test_run_of_another_number_of_queries_is_refused():
    with pytest.raises(ValueError, match="1 rows for 2 queries"):
        score(ranking([1]), judgements((0, 1, 1)), [Metric("mrr", 10)], n_queries=2)
