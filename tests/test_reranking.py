from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import full_disk, save_cross_encoder, sentences, write_vectors
from hypothesis import given
from hypothesis import strategies as st

from harness.collection import Collection, Judgements
from harness.errors import ExitCode, HarnessError
from harness.models.source import Given
from harness.models.weights import find_weights
from harness.retrieval.imported import ImportRun
from harness.retrieval.reranking import CrossEncoderScorer, Rerank, ScorePairs, SpaceScorer, rerank
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.retrieval.space import GivenVectors, Space
from harness.runs.run import Run, rank
from harness.stage import Context
from harness.store import Store

N_DOCUMENTS, N_QUERIES = 30, 4


@pytest.fixture(scope="module")
def collection() -> Collection:
    texts = sentences(N_DOCUMENTS + N_QUERIES, seed=1)
    none = np.empty(0, dtype=np.int32)
    return Collection(
        name="small",
        split="test",
        document_ids=tuple(f"d{row:02}" for row in range(N_DOCUMENTS)),
        documents=tuple(texts[:N_DOCUMENTS]),
        query_ids=tuple(f"q{row:02}" for row in range(N_QUERIES)),
        queries=tuple(texts[N_DOCUMENTS:]),
        judgements=Judgements(none, none, none),
    )


def first_stage(path: Path, lists: list[list[int]], collection: Collection) -> RunStage:
    """Write a run file that gives these rows in this order, and return its stage."""
    lines = [
        f"{collection.query_ids[query]} Q0 {collection.document_ids[row]} {place} {-place} x\n"
        for query, rows in enumerate(lists)
        for place, row in enumerate(rows, start=1)
    ]
    path.write_text("".join(lines), "utf-8")
    return ImportRun(path.stem, path, collection, 100, None)


@pytest.fixture
def first(tmp_path: Path, collection: Collection, store: Store) -> RunStage:
    lists = [list(range(20)), list(range(29, 9, -1)), [7, 3], []]
    stage = first_stage(tmp_path / "first.trec", lists, collection)
    stage.run(Context(store=store))
    return stage


def scorer_of(model: Path, collection: Collection, **options: Any) -> CrossEncoderScorer:
    usual = {"name": "cross", "dtype": "float32", "max_length": None}
    weights = find_weights(str(model))
    return CrossEncoderScorer(model=Given(weights), collection=collection, **{**usual, **options})


def stored_pairs(scorer: CrossEncoderScorer, store: Store) -> int:
    return sum(artifact.meta["pairs"] for artifact in store.list(str(scorer.kind(store))))


def of_sentence_transformers(model: Path, pairs: list[tuple[str, str]]) -> Any:
    import torch
    from sentence_transformers import CrossEncoder

    plain = CrossEncoder(str(model), device="cpu")
    return plain.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)


def as_run(rows: list[list[int]]) -> Run:
    documents = np.array(rows, dtype=np.int32)
    scores = np.where(documents < 0, 0, -np.arange(documents.shape[1], dtype=np.float32))
    return Run(documents, scores.astype(np.float32))


def test_the_top_is_ordered_by_the_new_scores_and_the_tail_keeps_its_order():
    run = rerank(as_run([[5, 9, 2, 8, 1, 7]]), np.array([[0.1, -3.0, 4.0]]))
    assert run.documents.tolist() == [[2, 5, 9, 8, 1, 7]]
    assert np.allclose(run.scores[0, :3], [4.0, 0.1, -3.0])


def test_equal_new_scores_are_ordered_by_the_larger_row():
    run = rerank(as_run([[1, 5, 3, 9]]), np.array([[0.5, 0.5, 0.5 + 1e-12]]))
    assert run.documents.tolist() == [[5, 3, 1, 9]]


def test_short_lists_stay_short():
    run = rerank(as_run([[4, 2, -1, -1], [-1, -1, -1, -1]]), np.zeros((2, 3)) - [[1, 0, 9]])
    assert run.documents.tolist() == [[2, 4, -1, -1], [-1, -1, -1, -1]]
    assert (run.scores[run.documents < 0] == 0).all()


lists = st.lists(st.permutations(range(8)), min_size=1, max_size=4)
floats = st.sampled_from([0.0, -0.0, 1.5, -1e30, 1e-30]) | st.floats(-1e4, 1e4, width=16)


@given(lists, st.data())
def test_any_reranking_orders_the_same_documents_with_falling_scores(
    rows: list[list[int]], data: st.DataObject
):
    depth = data.draw(st.integers(1, 8))
    first = as_run(rows)
    new = np.array(
        data.draw(st.lists(floats, min_size=len(rows) * depth, max_size=len(rows) * depth))
    )
    new = new.reshape(len(rows), depth)
    run = rerank(first, new)
    assert run.documents[:, depth:].tolist() == first.documents[:, depth:].tolist()
    assert (np.diff(run.scores, axis=1) <= 0).all()
    top = rank(first.documents[:, :depth], new, depth=depth)
    assert run.documents[:, :depth].tolist() == top.documents.tolist()
    assert run.scores[:, :depth].tolist() == top.scores.tolist()


@pytest.mark.parametrize("lowest", [-1.0, -1e6, -3e7, -1e12, 1e9])
def test_scores_of_the_tail_never_tie_whatever_the_lowest_new_score(lowest: float):
    first = as_run([list(range(40))])
    run = rerank(first, np.array([[lowest + 1, lowest]]))
    assert (np.diff(run.scores[0, 1:]) < 0).all()
    again = rank(run.documents, run.scores, depth=40)
    assert again.documents.tolist() == run.documents.tolist()


def test_pairs_have_the_raw_scores_of_sentence_transformers(
    cross_encoder: Path, collection: Collection, first: RunStage, store: Store
):
    scorer = scorer_of(cross_encoder, collection)
    ScorePairs(scorer, [(first, 10)]).run(Context(store=store))
    top = first.result(store).documents[:, :10]
    found = scorer.scores(store, top)
    pairs = [(query, place) for query, place in np.argwhere(top >= 0).tolist()]
    texts = [(collection.queries[q], collection.documents[top[q, place]]) for q, place in pairs]
    wanted = of_sentence_transformers(cross_encoder, texts)
    assert len(set(np.round(wanted, 4))) > 15
    assert np.allclose([found[pair] for pair in pairs], wanted, atol=1e-5)
    assert (found[top < 0] == 0).all()


def test_the_union_of_pairs_is_scored_once(
    cross_encoder: Path, collection: Collection, first: RunStage, tmp_path: Path, store: Store
):
    lists = [list(range(15, 25)), [29, 0], [], [1]]
    second = first_stage(tmp_path / "second.trec", lists, collection)
    second.run(Context(store=store))
    scorer = scorer_of(cross_encoder, collection)
    asked = [(first, 18), (second, 10), (first, 5)]
    stage = ScorePairs(scorer, asked)
    union = {
        (query, row)
        for other, depth in asked
        for query, rows in enumerate(other.result(store).documents[:, :depth].tolist())
        for row in rows
        if row >= 0
    }
    assert stage.work(store).pairs == len(union) == 18 + 7 + 18 + 1 + 2 + 1
    assert not stage.is_done(store)
    stage.run(Context(store=store))
    assert stage.is_done(store)
    assert stage.work(store).pairs == 0
    assert stored_pairs(scorer, store) == len(union)


def test_a_second_run_scores_nothing_and_a_new_first_stage_only_what_is_new(
    cross_encoder: Path, collection: Collection, first: RunStage, tmp_path: Path, store: Store
):
    context = Context(store=store)
    scorer = scorer_of(cross_encoder, collection)
    ScorePairs(scorer, [(first, 10)]).run(context)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    ScorePairs(scorer_of(cross_encoder, collection, name="again"), [(first, 10)]).run(context)
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
    known = stored_pairs(scorer, store)

    second = first_stage(tmp_path / "second.trec", [[3, 25, 26], [], [], []], collection)
    second.run(context)
    both = ScorePairs(scorer, [(first, 10), (second, 3)])
    assert both.work(store).pairs == 2
    both.run(context)
    assert stored_pairs(scorer, store) == known + 2


def test_equal_texts_are_one_pair_in_any_collection(
    cross_encoder: Path, collection: Collection, first: RunStage, tmp_path: Path, store: Store
):
    context = Context(store=store)
    ScorePairs(scorer_of(cross_encoder, collection), [(first, 10)]).run(context)
    twin = Collection(
        name="twin",
        split="dev",
        document_ids=("a", "b", "c"),
        documents=(collection.documents[4], collection.documents[4], collection.documents[28]),
        query_ids=("x",),
        queries=(collection.queries[0],),
        judgements=collection.judgements,
    )
    stage = first_stage(tmp_path / "twin.trec", [[0, 1, 2]], twin)
    stage.run(context)
    assert ScorePairs(scorer_of(cross_encoder, twin), [(stage, 3)]).work(store).pairs == 1


def test_a_kill_between_shards_loses_no_score_that_was_stored(
    cross_encoder: Path,
    collection: Collection,
    first: RunStage,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("harness.retrieval.reranking.SHARD_PAIRS", 10)
    scorer = scorer_of(cross_encoder, collection)
    stage = ScorePairs(scorer, [(first, 20)])
    stage.run(Context(store=store))
    shards = store.list(str(scorer.kind(store)))
    assert [shard.meta["pairs"] for shard in shards].count(10) == 4
    (shards[0].path / "scores.npy").unlink()
    assert stage.work(store).pairs == shards[0].meta["pairs"]
    stage.run(Context(store=store))
    assert stage.is_done(store)


@pytest.mark.parametrize("depth", [1, 5, 19, 20, 100])
def test_a_reranked_run_holds_the_documents_of_its_first_stage_and_no_other(
    cross_encoder: Path, collection: Collection, first: RunStage, store: Store, depth: int
):
    context = Context(store=store)
    scorer = scorer_of(cross_encoder, collection)
    ScorePairs(scorer, [(first, depth)]).run(context)
    stage = Rerank("reranked", first, scorer, depth)
    stage.run(context)
    before, after = first.result(store), stage.result(store)
    assert np.sort(after.documents, axis=1).tolist() == np.sort(before.documents, axis=1).tolist()
    assert after.documents[:, depth:].tolist() == before.documents[:, depth:].tolist()
    assert (np.diff(after.scores, axis=1)[after.documents[:, 1:] >= 0] <= 0).all()


def test_a_cascade_is_the_order_by_similarity(
    collection: Collection, first: RunStage, tmp_path: Path, store: Store
):
    draw = np.random.default_rng(4)
    sides = [
        GivenVectors(
            write_vectors(tmp_path / f"{side}.npy", draw.normal(size=(len(ids), 6)), ids), ids
        )
        for side, ids in (("d", collection.document_ids), ("q", collection.query_ids))
    ]
    space = Space(sides[0], sides[1], "cosine")
    context = Context(store=store)
    whole = Search("search", space, "ids", 100, None)
    whole.run(context)
    cascade = Rerank("cascade", first, SpaceScorer(space), 15)
    cascade.run(context)
    before, after = first.result(store).documents, cascade.result(store).documents
    for query in range(N_QUERIES):
        top = [row for row in before[query, :15].tolist() if row >= 0]
        order = [row for row in whole.result(store).documents[query].tolist() if row in top]
        assert after[query, : len(top)].tolist() == order
    assert after[:, 15:].tolist() == before[:, 15:].tolist()


def test_what_changes_a_score_changes_its_folder(
    cross_encoder: Path, collection: Collection, tmp_path: Path, store: Store
):
    other = save_cross_encoder(tmp_path / "other", seed=9)
    scorers = [
        scorer_of(cross_encoder, collection),
        scorer_of(cross_encoder, collection, dtype="bfloat16"),
        scorer_of(cross_encoder, collection, max_length=8),
        scorer_of(other, collection),
    ]
    assert len({scorer.kind(store) for scorer in scorers}) == 4
    assert scorer_of(cross_encoder, collection, name="x").kind(store) == scorers[0].kind(store)


def test_no_more_tokens_of_a_pair_are_read_than_max_length(
    cross_encoder: Path, collection: Collection, first: RunStage, store: Store
):
    from sentence_transformers import CrossEncoder

    scorer = scorer_of(cross_encoder, collection, max_length=8)
    ScorePairs(scorer, [(first, 3)]).run(Context(store=store))
    top = first.result(store).documents[:1, :3]
    texts = [(collection.queries[0], collection.documents[row]) for row in top[0]]
    plain = CrossEncoder(str(cross_encoder), device="cpu", max_length=8)
    import torch

    wanted = plain.predict(texts, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    assert np.allclose(scorer.scores(store, top)[0], wanted, atol=1e-5)


def test_bfloat16_scores_are_close_to_float32(
    cross_encoder: Path, collection: Collection, first: RunStage, store: Store
):
    top = first.result(store).documents[:, :10]
    found = []
    for dtype in ("float32", "bfloat16"):
        scorer = scorer_of(cross_encoder, collection, dtype=dtype)
        ScorePairs(scorer, [(first, 10)]).run(Context(store=store))
        found.append(scorer.scores(store, top))
    assert 0 < np.abs(found[0] - found[1]).max() < 0.5


def test_a_model_of_several_labels_is_refused(
    collection: Collection, first: RunStage, tmp_path: Path, store: Store
):
    several = save_cross_encoder(tmp_path / "several", seed=1, labels=3)
    with pytest.raises(HarnessError, match="gives one score, got 3 labels") as caught:
        ScorePairs(scorer_of(several, collection), [(first, 3)]).run(Context(store=store))
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_model_that_gives_no_numbers_is_refused_and_nothing_is_stored(
    cross_encoder: Path, collection: Collection, first: RunStage, tmp_path: Path, store: Store
):
    import shutil

    from safetensors.numpy import load_file, save_file

    broken = Path(shutil.copytree(cross_encoder, tmp_path / "broken"))
    tensors = load_file(broken / "model.safetensors")
    tensors["classifier.weight"] = tensors["classifier.weight"] * np.float32(np.nan)
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    scorer = scorer_of(broken, collection)
    with pytest.raises(HarnessError, match="NaN or infinite scores"):
        ScorePairs(scorer, [(first, 3)]).run(Context(store=store))
    assert stored_pairs(scorer, store) == 0


def test_a_disk_that_fills_up_while_scoring_is_one_error(
    cross_encoder: Path, collection: Collection, first: RunStage, store: Store
):
    stage = ScorePairs(scorer_of(cross_encoder, collection), [(first, 20)])
    with full_disk(after_bytes=500), pytest.raises(HarnessError, match="cannot write"):
        stage.run(Context(store=store))
    stage.run(Context(store=store))
    assert stage.is_done(store)


def test_a_pair_without_a_score_is_never_taken_for_zero(
    cross_encoder: Path, collection: Collection, first: RunStage, store: Store
):
    scorer = scorer_of(cross_encoder, collection)
    top = first.result(store).documents[:, :3]
    with pytest.raises(LookupError, match="no stored score"):
        scorer.scores(store, top)
    ScorePairs(scorer, [(first, 2)]).run(Context(store=store))
    with pytest.raises(LookupError, match="no stored score"):
        scorer.scores(store, top)


def test_before_its_first_stage_ran_the_work_is_an_upper_bound(
    cross_encoder: Path, collection: Collection, tmp_path: Path, store: Store
):
    later = first_stage(tmp_path / "later.trec", [[1]], collection)
    stage = ScorePairs(scorer_of(cross_encoder, collection), [(later, 7)])
    assert stage.work(store).pairs == 7 * N_QUERIES
    assert not stage.is_done(store)
