"""The parts of a diagnosis one by one: attributes, coverage, the neutral space, the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_suite, sentences, write_suite
from diagnoses import cluster
from test_bounds import collection

from harness.arrays import Vectors
from harness.collection import Collection
from harness.diagnosis.coverage import Training, view_training
from harness.diagnosis.failures import keyed, with_reasons
from harness.diagnosis.layout import lay_out
from harness.diagnosis.neutral import WordSpace, choose_neutral
from harness.diagnosis.view import query_attributes
from harness.retrieval.embeddings import unit_length
from harness.stage import Context
from harness.store import Store


def test_attributes_tell_what_is_true_of_a_query_alone():
    base = collection([(row, row, 1) for row in range(5)] + [(0, 1, 1)], queries=5, documents=5)
    queries = (
        "does HIV spread",
        "what is not known about gout",
        "dose of 5 mg",
        "a much longer question about a thing that nobody names in few words",
        "why",
    )
    found = query_attributes(Collection(**{**vars(base), "queries": queries}))
    length = found["length of the query"]
    assert length.values.tolist() == [3, 6, 4, 13, 1]
    assert length.at_most(1) == "a query of at most 1 word"
    assert length.at_least(1200) == "a query of 1,200 words or more"
    assert np.flatnonzero(found["an acronym"]).tolist() == [0]
    assert np.flatnonzero(found["a negation"]).tolist() == [1]
    assert np.flatnonzero(found["a number"]).tolist() == [2]
    assert found["number of relevant documents"].values.tolist() == [2, 1, 1, 1, 1]
    assert found["number of relevant documents"].at_least(2) == "2 relevant documents or more"


class Given:
    """Vectors that lie there already."""

    stages = ()

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def key(self, store: Store) -> str:
        return f"{store.root}"

    def vectors(self, store: Store) -> Vectors:
        del store
        return self._vectors


def test_a_cluster_far_from_the_training_pairs_gets_passages_to_write_queries_for(store: Store):
    draw = np.random.default_rng(0)
    n = 40
    axes = np.eye(8, dtype=np.float32)
    noise = 0.1 * draw.normal(size=(n, 8)).astype(np.float32)
    # The first ten queries ask about another thing than all training queries.
    queries = unit_length(noise + np.where(np.arange(n)[:, None] < 10, axes[0], axes[1]))
    documents = queries.copy()
    documents[3] = -axes[1]  # no passage lies farther from every training query
    texts = collection([(row, row, 1) for row in range(n)], queries=n, documents=n)
    trained = Training(
        source="elsewhere",
        queries=("about the second thing", "the same again"),
        documents=("text 5",),
        pairs=2,
        vectors=Given(np.stack([axes[1], axes[1]])),
    )
    far = cluster(key="c1", n=10, members=[f"q{row}" for row in range(10)])
    near = cluster(key="c2", n=10, members=[f"q{row}" for row in range(20, 30)])
    view = view_training(
        trained, texts, queries, [far, near], (np.arange(n), documents), store=store
    )
    everyone, first, second = view.coverage
    assert first.nearest < 0.3
    assert first.rest > 0.9
    assert everyone.nearest == pytest.approx((10 * first.nearest + 30 * first.rest) / n)
    assert first.to_add[0] == "d3"
    assert "d5" not in first.to_add  # it was trained on
    assert second.to_add == []
    assert "Cluster c1 (dose, drug) lies farther from the training pairs" in view.sentences[1]
    assert "Cluster c2 (dose, drug) is no farther" in view.sentences[2]


def test_the_map_puts_like_beside_like_and_is_the_same_twice():
    draw = np.random.default_rng(1)
    middles = draw.normal(size=(3, 20))
    vectors = np.concatenate([middle + 0.1 * draw.normal(size=(30, 20)) for middle in middles])
    places = lay_out(vectors.astype(np.float32))
    assert np.array_equal(places, lay_out(vectors.astype(np.float32)))
    means = places.reshape(3, 30, 2).mean(axis=1)
    spread = places.reshape(3, 30, 2).std(axis=1).max()
    gaps = [np.linalg.norm(means[a] - means[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert min(gaps) > 3 * spread


def test_more_queries_than_are_laid_out_are_placed_beside_their_like():
    draw = np.random.default_rng(1)
    middles = draw.normal(size=(3, 20))
    belongs = draw.integers(0, 3, 2400)
    vectors = middles[belongs] + 0.1 * draw.normal(size=(2400, 20))
    places = lay_out(vectors.astype(np.float32), most=300)
    medians = np.array([np.median(places[belongs == topic], axis=0) for topic in range(3)])
    nearest = np.linalg.norm(places[:, None] - medians, axis=2).argmin(axis=1)
    assert (nearest == belongs).mean() > 0.99


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_few_or_equal_queries_have_places_too(n: int):
    assert lay_out(np.ones((n, 4), dtype=np.float32)).shape == (n, 2)
    assert np.isfinite(lay_out(np.eye(n, 4, dtype=np.float32))).all()


def test_words_are_the_last_resort_and_say_so(store: Store):
    texts = sentences(50, seed=8, words=8)
    base = collection([(row, row, 1) for row in range(50)], queries=50, documents=50)
    source = WordSpace().queries(Collection(**{**vars(base), "queries": tuple(texts)}))
    for stage in source.stages:
        stage.run(Context(store))
    vectors = source.vectors(store)
    norms = np.linalg.norm(vectors, axis=1)
    assert np.allclose(norms[norms > 0], 1, atol=1e-5)
    assert "as no model outside the test is installed" in WordSpace().words


def test_texts_without_a_common_word_have_vectors_too(store: Store):
    base = collection([(0, 0, 1)], queries=3, documents=1)
    source = WordSpace().queries(Collection(**{**vars(base), "queries": ("a1", "b2", "c3")}))
    for stage in source.stages:
        stage.run(Context(store))
    assert source.vectors(store).shape == (3, 1)


def test_a_transformer_of_the_suite_that_is_not_under_test_is_neutral(
    tmp_path: Path, beir: Path, static_model: Path, bert_model: Path, store: Store
):
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "words"
        [collections.small]
        source = "beir:{beir}"
        [candidates.words]
        kind = "bm25"
        [candidates.static]
        model = "{static_model}"
        [candidates.bert]
        model = "{bert_model}"
        [candidates."bert/8"]
        from = "bert"
        truncate = 8
        """,
    )
    plan = run_suite(suite, store)
    assert choose_neutral(plan, ["words"]).words.startswith("bert,")
    # A truncation has the weights of what it shortens.
    assert choose_neutral(plan, ["words", "bert/8"]).words.startswith("static,")


def test_clusters_that_do_not_clearly_lose_more_than_the_rest_are_no_failures():
    found = keyed(
        [
            cluster(impact=0.02),
            cluster(impact=-0.01),
            cluster(impact=0.01, ratio_low=0.8),
            cluster(mode="documents"),
            cluster(impact=0.01),
        ]
    )
    assert [(each.key, each.impact) for each in found] == [("c1", 0.02), ("d1", 0.23), ("c2", 0.01)]


def test_a_cluster_has_the_reasons_that_mark_its_queries():
    ids = [f"q{row}" for row in range(100)]
    inside = np.arange(100) < 20
    shows = {"often": inside | (np.arange(100) == 50), "anywhere": np.arange(100) % 2 == 0}
    [found] = with_reasons([cluster(members=ids[:20])], shows, ids)
    assert found.reasons == ["often"]
