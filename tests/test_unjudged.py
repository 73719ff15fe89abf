"""Which documents a person is asked to judge, and in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
from test_bounds import collection, ranking

from harness.collection import Collection
from harness.diagnosis.duplicates import find_twins, queries_in_corpus
from harness.diagnosis.unjudged import Retrieved, find_unjudged


def asked(
    retrieved: dict[str, Retrieved], texts: Collection, **others: Any
) -> list[tuple[str, str]]:
    found = find_unjudged(retrieved, texts, **({"twins": {}, "scores": {}} | others))
    return [(each.query, each.document) for each in found]


def many(first: int, *, queries: int = 20) -> list[list[int]]:
    """Return rankings that all put the relevant document first, but the first query's."""
    return [[first, 0, 1], *[[0, 1, 2]] * (queries - 1)]


TEXTS = collection([(query, 0, 1) for query in range(20)], queries=20, documents=6)


def test_two_families_above_the_relevant_document_ask_for_it():
    runs = {
        "words": Retrieved(ranking(*many(3)), "words"),
        "vectors": Retrieved(ranking(*many(3)), "vectors"),
    }
    assert asked(runs, TEXTS) == [("q0", "d3")]
    [found] = find_unjudged(runs, TEXTS, twins={}, scores={})
    assert found.likelihood == 0.95  # 19 of the 20 documents that both return first are relevant
    assert found.why == (
        "words (rank 1) and vectors (rank 1) return it above every relevant document; 95% of the "
        "documents ranked as high are judged relevant."
    )


def test_candidates_of_one_family_are_one_voice():
    runs = {name: Retrieved(ranking(*many(3)), "vectors") for name in ("full", "cut")}
    assert asked(runs, TEXTS) == []


def test_what_was_judged_irrelevant_is_not_asked_again():
    texts = collection(
        [(0, 3, 0), *[(query, 0, 1) for query in range(20)]], queries=20, documents=6
    )
    runs = {name: Retrieved(ranking(*many(3)), name) for name in ("words", "vectors")}
    assert asked(runs, texts) == []


def test_the_twin_of_a_relevant_document_is_asked_for_wherever_it_stands():
    runs = {"words": Retrieved(ranking(*[[0, 4, 1]] * 20), "words")}
    found = find_unjudged(runs, TEXTS, twins={4: {0: 0.93}}, scores={})
    assert {(each.document, each.likelihood) for each in found} == {("d4", 0.93)}
    assert "It is 93% the same as 'd0', which is relevant." in found[0].why
    found = find_unjudged(runs, TEXTS, twins={4: {0: 0.998}}, scores={})
    assert "It is nearly identical (over 99%) to 'd0', which is relevant." in found[0].why


def test_a_twin_that_names_something_else_is_no_twin():
    texts = Collection(
        **{
            **vars(collection([(0, 0, 1)], queries=1, documents=2)),
            "queries": ("symptoms of gout 8",),
            "documents": ("gout 8 swells in 7 of 8", "gout 7 swells in 7 of 8"),
        }
    )
    runs = {"words": Retrieved(ranking([1, 0]), "words")}
    assert asked(runs, texts, twins={1: {0: 0.99}}) == []


def test_a_cross_encoder_that_prefers_a_document_asks_for_it():
    runs = {"words": Retrieved(ranking(*many(3)), "words")}
    scores = {(query, 0): 0.9 for query in range(20)} | {(0, 3): 0.87, (0, 1): 0.2}
    [found] = find_unjudged(runs, TEXTS, twins={}, scores=scores)
    assert (found.query, found.document) == ("q0", "d3")
    assert "A cross-encoder scores it 0.87, the best relevant document 0.90." in found.why
    assert asked(runs, TEXTS, scores=scores | {(0, 3): 0.5}) == []


def test_documents_with_the_same_words_are_twins():
    texts = [f"leaflet about drug {row} and its dose of {row} grams" for row in range(30)]
    twins = find_twins([*texts, texts[4].upper()])
    assert twins.groups() == [[4, 30]]
    assert twins.of(4) == {30: 1.0}
    assert twins.of(5) == {}


def test_a_query_that_is_a_document_is_a_leak():
    texts = collection([(0, 0, 1), (1, 1, 1)], queries=2, documents=2)
    leaking = Collection(**{**vars(texts), "documents": ("QUERY  1", "text")})
    assert queries_in_corpus(texts) == []
    assert queries_in_corpus(leaking) == ["q1"]


def test_a_ranking_without_a_relevant_document_puts_all_above_it():
    runs = {name: Retrieved(ranking(*many(3)), name) for name in ("words", "vectors")}
    texts = collection([(query, 5, 1) for query in range(20)], queries=20, documents=6)
    found = find_unjudged(runs, texts, twins={}, scores={})
    assert found == []  # no document ranked like these is judged relevant
    assert np.all(runs["words"].run.documents != 5)
