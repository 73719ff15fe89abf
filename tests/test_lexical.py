from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest
from conftest import sentences

from harness.collection import Collection, Judgements
from harness.retrieval.lexical import (
    Bm25Index,
    LexicalSearch,
    language_problem,
)
from harness.retrieval.lexical_parts import (
    Bm25Part,
    Statistics,
    split_into_words,
    statistics_of,
    words_of_queries,
)
from harness.runs.run import Run
from harness.stage import Context
from harness.store import Store
from harness.suite.kinds.bm25 import Bm25

ENGLISH = Bm25(kind="bm25", language="english")
PLAIN = Bm25(kind="bm25", language="none")


def collection(documents: list[str], queries: list[str]) -> Collection:
    none = np.empty(0, dtype=np.int32)
    return Collection(
        name="small",
        split="test",
        document_ids=tuple(f"d{row:04}" for row in range(len(documents))),
        documents=tuple(documents),
        query_ids=tuple(f"q{row:04}" for row in range(len(queries))),
        queries=tuple(queries),
        judgements=Judgements(none, none, none),
    )


def run_of(
    documents: list[str],
    queries: list[str],
    store: Store,
    *,
    spec: Bm25 = PLAIN,
    depth: int = 10,
    forbidden: Any = None,
) -> Run:
    stage = LexicalSearch("bm25", spec, collection(documents, queries), depth, forbidden)
    stage.run(Context(store=store))
    assert stage.is_done(store)
    return stage.result(store)


@pytest.mark.parametrize(
    "spec", [PLAIN, ENGLISH, Bm25(kind="bm25", k1=0.9, b=0.4, language="english")]
)
def test_scores_and_ranking_are_those_of_bm25s(store: Store, spec: Bm25):
    import bm25s
    import Stemmer

    documents, queries = sentences(300, seed=1, words=12), sentences(20, seed=2, words=4)
    options = {
        "stopwords": "en" if spec.language == "english" else [],
        "stemmer": Stemmer.Stemmer("english") if spec.language == "english" else None,
        "show_progress": False,
    }
    index = bm25s.BM25(k1=spec.k1, b=spec.b, method="lucene")
    index.index(bm25s.tokenize(documents, **options), show_progress=False)
    tokens = bm25s.tokenize(queries, **options)
    rows, scores = index.retrieve(tokens, k=300, show_progress=False, sorted=True)

    run = run_of(documents, queries, store, spec=spec, depth=300)
    for query in range(20):
        wanted = {
            row: score for row, score in zip(rows[query], scores[query], strict=True) if score
        }
        kept = run.documents[query][run.documents[query] >= 0]
        assert set(kept) == set(wanted)
        assert np.allclose(run.scores[query][: len(kept)], [wanted[row] for row in kept])
        order = sorted(wanted, key=lambda row: (-wanted[row], -row))
        assert kept.tolist() == order


def test_the_score_is_lucenes_formula(store: Store):
    documents = ["ba be", "ba ba bi", "bo bo bo bo"]
    run = run_of(documents, ["ba"], store)
    idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    k1, b, mean = 1.5, 0.75, (2 + 3 + 4) / 3

    def score(count: int, length: int) -> float:
        return idf * count / (count + k1 * (1 - b + b * length / mean))

    assert run.documents.tolist() == [[1, 0, -1]]
    assert np.allclose(run.scores, [[score(2, 3), score(1, 2), 0]])


def test_documents_without_a_word_of_the_query_are_not_returned(store: Store):
    run = run_of(["ba be", "bi bo", "be bi"], ["be", "zu", ""], store)
    assert run.documents.tolist() == [[2, 0, -1], [-1, -1, -1], [-1, -1, -1]]
    assert (run.scores[run.documents < 0] == 0).all()


def test_a_query_of_stop_words_only_finds_nothing(store: Store):
    documents = ["the cat and the dog", "to be or not to be"]
    run = run_of(documents, ["to be or not", "the", "cats"], store, spec=ENGLISH)
    assert run.documents.tolist() == [[-1, -1], [-1, -1], [0, -1]]


def test_empty_documents_are_never_found_and_disturb_nothing(store: Store):
    run = run_of(["", "ba be", "  ", "ba"], ["ba"], store)
    assert run.documents.tolist() == [[3, 1, -1, -1]]


@pytest.mark.parametrize("documents", [["", ""], ["the and", "of"]])
def test_a_corpus_without_any_word_finds_nothing(store: Store, documents: list[str]):
    run = run_of(documents, ["ba", "the"], store, spec=ENGLISH)
    assert run.documents.tolist() == [[-1, -1], [-1, -1]]


def test_equal_documents_are_ordered_by_the_larger_row_also_at_the_cut(store: Store):
    documents = ["ba be"] * 50 + ["ba ba"] + ["ba be"] * 50
    run = run_of(documents, ["ba"], store, depth=4)
    assert run.documents.tolist() == [[50, 100, 99, 98]]


def test_a_word_said_twice_in_the_query_counts_twice(store: Store):
    documents = ["ba", "be", "bi"]
    once, twice = (run_of(documents, [query], store) for query in ("ba be", "ba be be"))
    assert once.documents.tolist() == [[1, 0, -1]]
    assert np.allclose(once.scores[0, 0], once.scores[0, 1])
    assert np.allclose(twice.scores[0, 0], 2 * twice.scores[0, 1])


def test_a_forbidden_document_is_removed_before_the_cut(store: Store):
    forbidden = np.array([2, -1], dtype=np.int32)
    documents = ["ba be", "ba be", "ba be", "bo"]
    run = run_of(documents, ["ba", "ba"], store, depth=2, forbidden=forbidden)
    assert run.documents.tolist() == [[1, 0], [2, 1]]


def test_the_key_holds_what_the_run_depends_on(store: Store):
    texts = collection(["ba"], ["ba"])
    usual = LexicalSearch("a", ENGLISH, texts, 10, None)
    others = [
        LexicalSearch("a", PLAIN, texts, 10, None),
        LexicalSearch("a", Bm25(kind="bm25", k1=1.0, language="english"), texts, 10, None),
        LexicalSearch("a", ENGLISH, collection(["be"], ["ba"]), 10, None),
        LexicalSearch("a", ENGLISH, collection(["ba"], ["be"]), 10, None),
        LexicalSearch("a", ENGLISH, texts, 11, None),
        LexicalSearch("a", ENGLISH, texts, 10, np.array([0], dtype=np.int32)),
    ]
    assert len({stage.key(store) for stage in (usual, *others)}) == 7
    assert LexicalSearch("b", ENGLISH, texts, 10, None).key(store) == usual.key(store)


def test_the_index_tells_its_size():
    assert Bm25Index(PLAIN, ("ba be", "bi")).index_bytes > 0
    assert Bm25Index(PLAIN, ("", "")).index_bytes == 0


CHINESE = [
    "\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd",
    "\u4e0a\u6d77\u7684\u5929\u6c14",
    "iPhone \u624b\u673a\u58f3",
]


def test_bigrams_find_what_words_cannot_in_scripts_without_spaces(store: Store):
    queries = ["\u5929\u6c14", "\u9996\u90fd", "iphone"]
    words = run_of(CHINESE, queries, store)
    assert words.documents[:2, 0].tolist() == [-1, -1]
    pairs = run_of(CHINESE, queries, store, spec=Bm25(kind="bm25", language="bigrams"))
    assert pairs.documents[:, 0].tolist() == [1, 0, 2]


def test_a_language_that_finds_nothing_without_spaces_is_refused():
    assert "2 of a sample of 3 documents" in language_problem(PLAIN, CHINESE)
    assert language_problem(Bm25(kind="bm25", language="bigrams"), CHINESE) == ""
    assert language_problem(Bm25(kind="bm25"), CHINESE) == ""
    assert language_problem(PLAIN, ["ba be"]) == ""


def test_other_languages_have_their_stemmer():
    index = Bm25Index(Bm25(kind="bm25", language="german"), ("die H\u00e4user", "Katzen"))
    assert index.score("Haus und H\u00e4usern").tolist()[0] > 0


@pytest.mark.parametrize(
    "spec", [PLAIN, ENGLISH, Bm25(kind="bm25", k1=0.9, b=0.4, language="english")]
)
def test_pieces_give_the_bits_of_the_whole_by_merged_statistics(spec: Bm25):
    words = ["the", "cars", "car", "running", "runs", "red", "blue", "a", "house", "zebra"]
    draw = np.random.default_rng(4)
    documents = [" ".join(draw.choice(words[:9], n)) for n in draw.integers(1, 40, 400)]
    documents[7] = documents[300] = documents[399] = ""
    queries = ["red car car", "the", "zebra", "", "blue houses zebra running", "nothing known"]
    whole = np.stack(list(Bm25Index(spec, documents).score_all(queries)))
    kept = words_of_queries(spec, queries)
    ranges = [slice(0, 100), slice(100, 399), slice(399, 400)]
    pieces = [split_into_words(spec, documents[rows], kept) for rows in ranges]
    counted = [statistics_of(piece, len(kept)) for piece in pieces]
    for order in ([0, 1, 2], [2, 0, 1]):
        merged = reduce(Statistics.merged, [counted[number] for number in order])
        found = [
            np.stack(list(Bm25Part(spec, kept, piece, merged).score_all(queries)))
            for piece in pieces
        ]
        assert whole.any()
        assert np.concatenate(found, axis=1).tobytes() == whole.tobytes()
