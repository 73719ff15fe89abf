"""One total order: score descending, then document row descending."""

import numpy as np
import pytest

from harness.runs.run import Run, rank, rank_entries


def as_array(values: list, dtype: type):
    return np.array(values, dtype=dtype)


def test_higher_scores_come_first_and_ties_go_to_the_larger_row():
    run = rank(as_array([[4, 9, 7, 2]], np.int32), as_array([[0.5, 0.1, 0.5, 0.9]], float), depth=4)
    assert run.documents.tolist() == [[2, 7, 4, 9]]
    assert run.scores.tolist() == [[as_array(x, np.float32) for x in (0.9, 0.5, 0.5, 0.1)]]


def test_run_is_cut_at_depth():
    run = rank(as_array([[1, 2, 3]], np.int32), as_array([[1, 2, 3]], float), depth=2)
    assert run.documents.tolist() == [[3, 2]]
    assert run.depth == 2


def test_run_has_fewer_columns_where_there_are_fewer_candidates():
    assert rank(as_array([[1]], np.int32), as_array([[0.5]], float), depth=10).depth == 1


def test_short_lists_end_in_empty_places_of_score_zero():
    run = rank(as_array([[-1, 5, -1]], np.int32), as_array([[9, -3, np.nan]], float), depth=3)
    assert run.documents.tolist() == [[5, -1, -1]]
    assert run.scores.tolist() == [[-3, 0, 0]]


def test_negative_scores_keep_their_order():
    scores = [-1e-30, 1e-30, -3e38, 3e38, 0.0]
    run = rank(as_array([[0, 1, 2, 3, 4]], np.int32), as_array([scores], float), depth=5)
    assert run.documents.tolist() == [[3, 1, 4, 0, 2]]


def test_scores_that_are_equal_in_float32_are_a_tie():
    run = rank(as_array([[1, 2]], np.int32), as_array([[0.5 + 1e-12, 0.5]], float), depth=2)
    assert run.documents.tolist() == [[2, 1]]


def test_negative_zero_ties_with_zero():
    run = rank(as_array([[1, 2]], np.int32), as_array([[0.0, -0.0]], float), depth=2)
    assert run.documents.tolist() == [[2, 1]]


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, 1e39])
def test_score_that_is_no_finite_float32_is_refused(score: float):
    with pytest.raises(ValueError, match="NaN or infinite"):
        rank(as_array([[1]], np.int32), as_array([[score]], float), depth=1)


def test_largest_row_number_survives():
    largest = np.iinfo(np.int32).max
    run = rank(as_array([[0, largest]], np.int32), as_array([[0.5, 0.5]], float), depth=2)
    assert run.documents.tolist() == [[largest, 0]]


def test_types_are_those_of_the_contract():
    run = rank(as_array([[1]], np.int64), as_array([[0.5]], float), depth=1)
    assert (run.documents.dtype, run.scores.dtype) == (np.int32, np.float32)


def entries(rows: list[tuple[int, int, float]], *, n_queries: int, depth: int) -> Run:
    columns = as_array(rows, float).reshape(-1, 3)
    return rank_entries(
        columns[:, 0].astype(np.int64),
        columns[:, 1].astype(np.int64),
        columns[:, 2],
        n_queries=n_queries,
        depth=depth,
    )


def test_flat_entries_get_the_same_order_whatever_their_order():
    rows = [(1, 4, 0.5), (0, 3, 0.1), (1, 9, 0.5), (0, 2, 0.7), (1, 1, 0.9)]
    for given in (rows, rows[::-1]):
        run = entries(given, n_queries=3, depth=10)
        assert run.documents.tolist() == [[2, 3, -1], [1, 9, 4], [-1, -1, -1]]


def test_flat_entries_are_cut_at_depth():
    run = entries([(0, 1, 1), (0, 2, 2), (0, 3, 3)], n_queries=1, depth=2)
    assert run.documents.tolist() == [[3, 2]]


def test_no_entry_at_all_makes_a_run_of_depth_zero():
    assert entries([], n_queries=2, depth=5).documents.shape == (2, 0)
