"""Where every query is lost, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_suite, write_beir, write_suite, write_vectors

from harness.diagnosis.standing import (
    Relevant,
    Standing,
    count_stages,
    lost_gains,
    name_stages,
    rank_by_vectors,
    rank_by_words,
    ranks_among,
    split_loss,
)
from harness.diagnosis.subject import Subject, plan_subject
from harness.diagnosis.view import Facts
from harness.plan.plan import Plan
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.lexical import Bm25Index
from harness.retrieval.search import search
from harness.runs.metrics import parse_metric
from harness.store import Store
from harness.suite.kinds.bm25 import Bm25


def embeddings(vectors: np.ndarray) -> Embeddings:
    array = np.asarray(vectors, dtype=np.float32)
    return Embeddings([array], np.arange(len(array)), array.shape[1], normalised=False)


@pytest.mark.parametrize("lowest_forbidden", [None, -1])
def test_rank_by_vectors_is_the_rank_of_a_search_through_everything(lowest_forbidden: int | None):
    draw = np.random.default_rng(5)
    # Few distinct values make many exact ties.
    documents = embeddings(draw.integers(-2, 3, (300, 4)))
    queries = embeddings(draw.integers(-2, 3, (40, 4)))
    pairs = Relevant(
        np.repeat(np.arange(40), 3).astype(np.int32), draw.integers(0, 300, 120).astype(np.int32)
    )
    forbidden = None
    if lowest_forbidden is not None:
        forbidden = draw.integers(lowest_forbidden, 300, 40).astype(np.int32)
    run = search(documents, queries, depth=300, forbidden=forbidden)
    found = rank_by_vectors(documents, queries, pairs, forbidden=forbidden)
    for query in range(40):
        wanted = set(pairs.documents[pairs.queries == query].tolist())
        if forbidden is not None and forbidden[query] in wanted:
            continue
        order = run.documents[query].tolist()
        rank = min(order.index(row) for row in wanted) + 1
        assert (found.ranks[query], found.documents[query]) == (rank, order[rank - 1])


def test_query_without_a_relevant_document_has_no_rank():
    pairs = Relevant(np.array([1], dtype=np.int32), np.array([0], dtype=np.int32))
    found = rank_by_vectors(embeddings(np.eye(2)), embeddings(np.eye(2)), pairs, forbidden=None)
    assert found.ranks.tolist() == [0, 2]
    assert found.documents.tolist() == [-1, 0]


def test_rank_by_words_breaks_ties_as_a_run_does_and_knows_documents_without_a_match():
    texts = ("red fox", "red fox", "blue fox", "green owl")
    index = Bm25Index(Bm25(kind="bm25", language="english"), texts)
    pairs = Relevant(np.zeros(4, dtype=np.int32), np.arange(4, dtype=np.int32))
    ranks = rank_by_words(index, ("red fox",), pairs, forbidden=None)
    assert ranks.tolist() == [2, 1, 3, 0]
    scores = np.array([1.0, 2.0, 1.0], dtype=np.float32)
    assert ranks_among(scores, np.array([0, 1, 2], dtype=np.int32)).tolist() == [3, 1, 2]


def standing(*ranks: int) -> Standing:
    rows = np.arange(len(ranks), dtype=np.int32)
    return Standing(rows, np.array(ranks, dtype=np.int64))


def test_stages_without_a_reranker():
    first = Standing(np.array([3, 3, 3, 3, 3, -1]), np.array([10, 11, 1000, 1001, 0, 0]))
    stages = name_stages(first, first, k=10, depth=100, reranked=False)
    assert stages.tolist() == ["retrieved", "rerankable", "deep", "lost", "lost", "absent"]


def test_stages_with_a_reranker():
    before, after = standing(1, 1, 50, 50, 500, 5000), standing(1, 20, 3, 60, 500, 5000)
    stages = name_stages(before, after, k=10, depth=100, reranked=True)
    told = ["retrieved", "rerank-harm", "retrieved", "rerank-miss", "deep", "lost"]
    assert stages.tolist() == told


def test_reranker_shallower_than_k_does_not_harm_what_it_never_sees():
    ranks = standing(8)
    assert name_stages(ranks, ranks, k=10, depth=5, reranked=True).tolist() == ["retrieved"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """One query a stage on 1,200 documents: the vectors put document d{rank - 1} at each rank."""
    n, tmp_path = 1200, tmp_path_factory.mktemp("planted")
    folder = write_beir(
        tmp_path / "beir",
        documents={f"d{row:04}": f"word{row}" if row != 4 else " " for row in range(n)},
        queries=dict.fromkeys(("hit", "near", "deep", "lost", "blank"), "word0 word3"),
        qrels={
            "test": [
                ("hit", "d0002", 1),
                ("near", "d0050", 1),
                ("near", "d0900", 1),
                ("deep", "d0500", 1),
                ("lost", "d1100", 1),
                ("blank", "d0004", 1),
            ]
        },
    )
    angles = np.linspace(0, 1.5, n)
    ids = [f"d{row:04}" for row in range(n)]
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    write_vectors(tmp_path / "d.npy", vectors, ids)
    names = ["hit", "near", "deep", "lost", "blank"]
    write_vectors(tmp_path / "q.npy", np.tile([1.0, 0.0], (5, 1)), names)
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "given"
        collections.c.source = "beir:{folder}"
        [candidates.given]
        vectors = {{ documents = "{tmp_path}/d.npy", queries = "{tmp_path}/q.npy" }}
        [candidates.words]
        kind = "bm25"
        [candidates.both]
        from = "words"
        rerank = {{ candidate = "given", depth = 20 }}
        [candidates.mixed]
        fuse = ["given", "words"]
        """,
    )
    return run_suite(suite, Store(tmp_path / "store"))


def subject(plan: Plan, candidate: str, *, k: int | None = None) -> Subject:
    return plan_subject(plan, candidate, Facts(plan.collections["c"]), k=k)


def by_id(plan: Plan, values: np.ndarray) -> dict[str, object]:
    return dict(zip(plan.collections["c"].query_ids, values.tolist(), strict=True))


def test_every_stage_is_told_with_its_exact_rank(planted: Plan):
    found = subject(planted, "given")
    assert by_id(planted, found.stages) == {
        "hit": "retrieved",
        "near": "rerankable",
        "deep": "deep",
        "lost": "lost",
        "blank": "absent",
    }
    counts = count_stages(found.stages, found.lost)
    ranks = by_id(planted, found.before.ranks)
    assert ranks == {"hit": 3, "near": 51, "deep": 501, "lost": 1101, "blank": 0}
    assert [(count.stage, count.n) for count in counts] == [
        ("retrieved", 1),
        ("rerankable", 1),
        ("deep", 1),
        ("lost", 1),
        ("absent", 1),
    ]
    assert sum(count.share for count in counts) == pytest.approx(1)
    assert sum(count.loss for count in counts) == pytest.approx(1 - found.scores.mean())


@pytest.mark.parametrize("metric", ["ndcg@10", "recall@1000", "context_recall@2000t", "mrr@10"])
@pytest.mark.parametrize("candidate", ["given", "words", "both", "mixed"])
def test_gap_adds_up_to_one(planted: Plan, candidate: str, metric: str):
    found = subject(planted, candidate)
    gap = split_loss(
        found.run,
        found.collection.judgements,
        parse_metric(metric),
        depth=found.depth,
        documents=found.collection.documents,
    )
    assert gap.achieved + gap.ordering_loss + gap.first_stage_loss == pytest.approx(1)
    assert min(gap.ordering_loss, gap.first_stage_loss) >= 0


def test_losses_of_the_stages_add_up_to_the_ordering_and_the_first_stage_loss():
    """Of three documents the best is lost: a perfect order of the others moves them up."""
    found = lost_gains(
        np.array([3.0, 1.0, 1.0]),
        np.array([0, 2, 50]),
        np.zeros(3, dtype=np.int64),
        np.array(["lost", "retrieved", "rerankable"]),
        cutoff=10,
        n_queries=1,
    )
    one, two, three = 1 / np.log2([2, 3, 4])
    ideal = 3 * one + two + three
    assert found == pytest.approx(
        {
            "retrieved": (one - two) / ideal,
            "rerankable": two / ideal,
            "lost": 1 - (one + two) / ideal,
        }
    )


def test_candidates_without_vectors_have_stages_too(planted: Plan):
    # The words match d0000 and d0003 alone: every other document is not returned at all.
    assert by_id(planted, subject(planted, "words").stages)["hit"] == "lost"
    mixed = subject(planted, "mixed")
    assert by_id(planted, mixed.stages)["hit"] == "retrieved"
    assert by_id(planted, mixed.stages)["lost"] == "lost"


def test_reranked_candidate_keeps_the_rank_before_and_after(tmp_path: Path):
    folder = write_beir(
        tmp_path / "beir",
        documents={f"d{row}": f"w{row}" for row in range(6)},
        queries={"a": "x", "b": "y"},
        qrels={"test": [("a", "d0", 1), ("b", "d1", 1)]},
    )
    ids = [f"d{row}" for row in range(6)]
    write_vectors(tmp_path / "d.npy", np.eye(6), ids)
    first = [[6, 5, 4, 3, 2, 1], [6, 5, 4, 3, 2, 1]]
    second = [[1, 2, 3, 4, 5, 6], [1, 9, 3, 4, 5, 6]]
    for name, vectors in (("one", first), ("two", second)):
        write_vectors(tmp_path / f"{name}.npy", vectors, ["a", "b"])
    candidates = "\n".join(
        f'[candidates.{name}]\nsimilarity = "dot"\nvectors = {{ documents = '
        f'"{tmp_path}/d.npy", queries = "{tmp_path}/{name}.npy" }}'
        for name in ("one", "two")
    )
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "one"
        collections.c.source = "beir:{folder}"
        {candidates}
        [candidates.reranked]
        from = "one"
        rerank = {{ candidate = "two", depth = 4 }}
        """,
    )
    plan = run_suite(suite, Store(tmp_path / "store"))
    found = subject(plan, "reranked", k=1)
    assert found.before.ranks.tolist() == [1, 2]
    assert found.after.ranks.tolist() == [4, 1]
    assert found.stages.tolist() == ["rerank-harm", "retrieved"]
    assert found.missed.tolist() == [True, False]
