"""Judgements against the agreement of a lexical and a dense system."""

from __future__ import annotations

import numpy as np

from harness.collection import Judgements
from harness.decision.holes import Contradiction, contradiction
from harness.runs.run import Run

CORPUS = 4000


def run(*rankings: list[int]) -> Run:
    documents = np.array(rankings, dtype=np.int32)
    scores = np.where(documents < 0, 0, np.arange(documents.shape[1], 0, -1)).astype(np.float32)
    return Run(documents, scores)


def judged(*pairs: tuple[int, int, int]) -> Judgements:
    queries, documents, grades = (
        np.array(column, dtype=np.int32) for column in zip(*pairs, strict=True)
    )
    return Judgements(queries, documents, grades)


def test_agreement_on_a_document_far_from_the_judged_one_is_a_contradiction():
    lexical = run([7, 1, 2], [7, 1, 2], [7, 1, 2], [7, 1, 2])
    dense = run([7, 3, 4], [7, 3, 4], [8, 3, 4], [7, 3, 4])
    judgements = judged((0, 7, 1), (1, 99, 1), (2, 99, 1), (3, 4, 2))
    found = contradiction([lexical], [dense], judgements, n_documents=CORPUS)
    assert found == Contradiction(agreed=3, contradicted=1)


def test_document_judged_not_relevant_does_not_rescue_a_query():
    found = contradiction([run([7, 1])], [run([7, 2])], judged((0, 7, 0)), n_documents=CORPUS)
    assert found == Contradiction(1, 1)


def test_judged_document_that_is_not_in_the_corpus_is_a_contradiction():
    found = contradiction([run([7, 1])], [run([7, 2])], judged((0, -1, 1)), n_documents=CORPUS)
    assert found == Contradiction(1, 1)


def test_empty_rankings_do_not_agree():
    nothing = run([-1, -1])
    found = contradiction([nothing], [nothing], judged((0, 3, 1)), n_documents=CORPUS)
    assert found == Contradiction(0, 0)


def test_far_below_is_nearer_in_a_small_corpus():
    ranking = list(range(100, 150))
    judgements = judged((0, 112, 1))
    for size, contradicted in ((200, 1), (400, 0), (CORPUS, 0)):
        found = contradiction([run(ranking)], [run(ranking)], judgements, n_documents=size)
        assert found == Contradiction(1, contradicted)


def test_pair_that_agrees_most_often_counts():
    lexical = run([1, 2], [1, 2])
    half, whole = run([1, 3], [4, 3]), run([1, 3], [1, 3])
    judgements = judged((0, 1, 1), (1, 9, 1))
    found = contradiction([lexical], [half, whole], judgements, n_documents=CORPUS)
    assert found == Contradiction(2, 1)


def test_systems_of_one_kind_alone_tell_nothing():
    alike = run([1, 2])
    judgements = judged((0, 9, 1))
    assert contradiction([alike, alike], [], judgements, n_documents=CORPUS) is None
    assert contradiction([], [alike, alike], judgements, n_documents=CORPUS) is None
