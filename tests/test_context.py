"""How much of the relevant text reaches a prompt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.collection import Judgements
from harness.errors import HarnessError
from harness.runs.context import document_tokens, fill_context
from harness.runs.metrics import parse_metric, score
from harness.runs.run import Run


def judged(*triples: tuple[int, int, int]) -> Judgements:
    columns = zip(*triples, strict=True) if triples else ([], [], [])
    return Judgements(*(np.array(column, dtype=np.int32) for column in columns))


def test_four_characters_are_a_token_and_a_rest_is_one_more():
    assert document_tokens(["", "abcd", "abcde"]).tolist() == [0, 1, 2]


def test_a_relevant_document_beyond_the_budget_reaches_nothing():
    run = np.array([[0, 1]], dtype=np.int32)
    found = fill_context(run, judged((0, 1, 1)), np.array([10, 5]), budget=10, level=1)
    assert (found.precision[0], found.recall[0]) == (0, 0)


def test_recall_is_full_where_the_budget_holds_nothing_but_relevant_text():
    run = np.array([[0, 1]], dtype=np.int32)
    both = judged((0, 0, 1), (0, 1, 2))
    found = fill_context(run, both, np.array([100, 100]), budget=50, level=1)
    assert (found.precision[0], found.recall[0]) == (1, 1)


def test_the_level_decides_what_is_relevant():
    run = np.array([[0, 1]], dtype=np.int32)
    both = judged((0, 0, 1), (0, 1, 2))
    found = fill_context(run, both, np.array([10, 10]), budget=20, level=2)
    assert (found.precision[0], found.recall[0]) == (0.5, 1)


def test_a_judged_document_outside_the_corpus_has_no_text_to_reach():
    run = np.array([[0]], dtype=np.int32)
    found = fill_context(run, judged((0, -1, 1), (0, 0, 1)), np.array([10]), budget=20, level=1)
    assert found.recall[0] == 1


@given(st.data())
def test_values_equal_a_prompt_filled_token_by_token(data: st.DataObject):
    n_documents = data.draw(st.integers(1, 6))
    tokens = data.draw(st.lists(st.integers(0, 9), min_size=n_documents, max_size=n_documents))
    order = data.draw(st.permutations(range(n_documents)))
    kept = data.draw(st.integers(0, n_documents))
    relevant = data.draw(st.sets(st.integers(0, n_documents - 1)))
    budget = data.draw(st.integers(1, 30))
    row = [*order[:kept], *[-1] * (n_documents - kept)]
    prompt = [row for row in order[:kept] for _ in range(tokens[row])][:budget]
    hits = sum(place in relevant for place in prompt)
    total = min(sum(tokens[place] for place in relevant), budget)
    found = fill_context(
        np.array([row], dtype=np.int32),
        judged(*((0, place, 1) for place in relevant)),
        np.array(tokens),
        budget=budget,
        level=1,
    )
    assert found.precision[0] == pytest.approx(hits / len(prompt) if prompt else 0)
    assert found.recall[0] == pytest.approx(hits / total if total else 0)


def test_the_name_says_tokens_and_a_rank_metric_refuses_them():
    assert str(parse_metric("context_recall@2000t")) == "context_recall@2000t"
    assert str(parse_metric("context_precision@500")) == "context_precision@500t"
    with pytest.raises(HarnessError, match="cut at a rank, got tokens"):
        parse_metric("recall@100t")


def test_a_scorecard_holds_rank_and_token_metrics_side_by_side():
    run = Run(np.array([[0, 1]], dtype=np.int32), np.array([[2, 1]], dtype=np.float32))
    metrics = [parse_metric("recall@1"), parse_metric("context_recall@8t")]
    card = score(run, judged((0, 1, 1)), metrics, n_queries=1, tokens=np.array([4, 4]))
    assert card.values["recall@1"].tolist() == [0]
    assert card.values["context_recall@8t"].tolist() == [1]
