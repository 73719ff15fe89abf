from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    full_disk,
    plan_of,
    run_suite,
    save_static,
    write_beir,
    write_suite,
    write_vectors,
)

from harness.errors import ExitCode, HarnessError
from harness.plan.plan import Plan
from harness.results.gathering import gather, gather_costs
from harness.stage import Context
from harness.store import Store

N_DOCUMENTS, N_QUERIES = 12, 4


@pytest.fixture
def exact(tmp_path: Path) -> Path:
    """Return a suite without a model, whose results can be worked out by hand.

    Query i has the one answer d{i}. The vectors find every answer first; the run file finds it
    second for the first two queries and never for the others.
    """
    documents = [f"d{row:02}" for row in range(N_DOCUMENTS)]
    queries = [f"q{row}" for row in range(N_QUERIES)]
    folder = write_beir(
        tmp_path / "beir",
        documents={key: f"word{key} common" for key in documents},
        queries={key: f"wordd{key[1:]:0>2} nothing" for key in queries},
        qrels={"test": [(key, documents[row], 1) for row, key in enumerate(queries)]},
    )
    vectors = np.eye(N_DOCUMENTS)
    write_vectors(tmp_path / "documents.npy", vectors, documents)
    write_vectors(tmp_path / "queries.npy", vectors[:N_QUERIES] * 3, queries)
    write_vectors(tmp_path / "wrong.npy", vectors[1 : N_QUERIES + 1], queries)
    lines = [f"{key} Q0 d11 1 9 x\n" for key in queries]
    lines += [f"{queries[row]} Q0 {documents[row]} 2 8 x\n" for row in (0, 1)]
    (tmp_path / "run.trec").write_text("".join(lines))
    return write_suite(
        tmp_path / "exact.toml",
        f"""
        baseline = "file"
        collections.small.source = "beir:{folder}"
        [candidates.right]
        vectors = {{ documents = "{tmp_path}/documents.npy", queries = "{tmp_path}/queries.npy" }}
        [candidates.wrong]
        vectors = {{ documents = "{tmp_path}/documents.npy", queries = "{tmp_path}/wrong.npy" }}
        [candidates.file]
        run = "{tmp_path}/run.trec"
        [candidates.words]
        kind = "bm25"
        language = "english"
        [candidates.cascade]
        from = "wrong"
        rerank = {{ candidate = "right", depth = {N_DOCUMENTS} }}
        [candidates.shallow]
        from = "file"
        rerank = {{ candidate = "right", depth = 2 }}
        [candidates.hybrid]
        fuse = ["right", "file"]
        """,
    )


@pytest.fixture
def whole(
    tmp_path: Path, beir: Path, static_model: Path, bert_model: Path, cross_encoder: Path
) -> Path:
    """Return a suite of every kind of candidate, each after what it needs only in the plan."""
    (tmp_path / "run.trec").write_text(
        "".join(f"q{n:02} Q0 d{n:02} 1 1 x\n" for n in range(0, 20, 2))
    )
    draw = np.random.default_rng(3)
    for side in "dq":
        ids = [f"{side}{row:02}" for row in range(60)]
        write_vectors(tmp_path / f"{side}.npy", draw.normal(size=(60, 6)), ids)
    return write_suite(
        tmp_path / "whole.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [candidates.last]
        fuse = ["cascade", "again", "tuned/4", "given"]
        method = "wsum"
        [candidates.again]
        from = "mixed"
        rerank = {{ model = "{cross_encoder}", depth = 10 }}
        [candidates.mixed]
        fuse = ["reranked", "words", "file"]
        [candidates.reranked]
        from = "bert"
        rerank = {{ model = "{cross_encoder}", depth = 20 }}
        [candidates.cascade]
        from = "tuned/4"
        rerank = {{ candidate = "twice", depth = 10 }}
        [candidates."tuned/4"]
        from = "tuned"
        truncate = 4
        [candidates.twice]
        from = "tuned"
        finetune = {{ data = "small:train", batch_size = 8, matryoshka = [16, 4] }}
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "small:train", batch_size = 8 }}
        [candidates.bert]
        model = "{bert_model}"
        [candidates.static]
        model = "{static_model}"
        [candidates.words]
        kind = "bm25"
        [candidates.file]
        run = "{tmp_path}/run.trec"
        [candidates.given]
        vectors = {{ documents = "{tmp_path}/d.npy", queries = "{tmp_path}/q.npy" }}
        """,
    )


def listing(store: Store) -> dict[str, tuple[int, int]]:
    """Return inode and time of change of everything in the store, but for its staging folder."""
    return {
        str(path.relative_to(store.root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(store.root.rglob("*"))
        if path.name != "staging"
    }


def means(plan: Plan, metric: str) -> dict[str, float]:
    return {score.candidate: score.mean for score in gather(plan).scores if score.metric == metric}


def test_results_are_those_worked_out_by_hand(exact: Path, store: Store):
    plan = run_suite(exact, store)
    second = 1 / np.log2(3)
    assert means(plan, "ndcg@10") == pytest.approx(
        {
            "right": 1.0,
            "wrong": means(plan, "ndcg@10")["wrong"],  # by the order of ties, checked below
            "file": 2 * second / 4,
            "words": 1.0,
            "cascade": 1.0,
            "shallow": 2 / 4,  # what the first stage missed stays missed
            "hybrid": second,  # d11 has an equal sum and is the larger row
        }
    )
    assert means(plan, "recall@20") == {
        **dict.fromkeys(("right", "wrong", "words", "cascade", "hybrid"), 1.0),
        "file": 0.5,
        "shallow": 0.5,
    }
    # 'wrong' gives the next document score 1 and ties all others at 0, the larger row first.
    wrong = plan.planner.run_stage("wrong", "small").result(store)
    assert wrong.documents[1].tolist() == [2, 11, 10, 9, 8, 7, 6, 5, 4, 3, 1, 0]
    scores = {(s.candidate, s.metric): s for s in gather(plan).scores}
    assert scores["file", "ndcg@10"].missing == 0
    assert scores["words", "ndcg@10"].n == N_QUERIES


def test_a_document_with_the_id_of_the_query_is_never_returned(tmp_path: Path, store: Store):
    texts = {key: f"word{key}" for key in "abcd"}
    write_beir(
        tmp_path / "beir",
        documents=texts,
        queries={key: texts[key] for key in "ab"},
        qrels={"test": [("a", "b", 1), ("b", "a", 1)]},
    )
    write_vectors(tmp_path / "v.npy", np.eye(4) + 0.1, list(texts))
    (tmp_path / "run.trec").write_text("a Q0 a 1 9 x\na Q0 c 2 8 x\nb Q0 a 1 1 x\n")
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "words"
        [collections.small]
        source = "beir:{tmp_path}/beir"
        exclude_identical_ids = true
        [candidates.words]
        kind = "bm25"
        [candidates.given]
        vectors = {{ documents = "{tmp_path}/v.npy", queries = "{tmp_path}/v.npy" }}
        [candidates.file]
        run = "{tmp_path}/run.trec"
        """,
    )
    plan = run_suite(suite, store)
    found = {
        name: plan.planner.run_stage(name, "small").result(store).documents.tolist()
        for name in plan.suite.candidates
    }
    assert found["words"] == [[-1] * 4] * 2
    assert found["given"] == [[3, 2, 1, -1], [3, 2, 0, -1]]
    assert [row[:1] for row in found["file"]] == [[2], [0]]


def test_every_stage_finds_its_inputs_done(whole: Path, store: Store):
    plan = plan_of(whole, store)
    context = Context(store=store)
    for stage in plan.stages:
        assert stage.key(store) is not None, stage.label
        if not stage.is_done(store):
            stage.run(context)
        assert stage.is_done(store), stage.label
    assert plan.left() == []


def test_a_second_run_does_nothing_and_finds_the_same_bytes(
    whole: Path, store: Store, tmp_path: Path
):
    first = run_suite(whole, store)
    found = gather(first).model_dump_json()  # stores the comparisons
    before = listing(store)
    again = run_suite(whole, store)
    assert listing(store) == before
    assert gather(again).model_dump_json() == found
    assert gather_costs(again) == gather_costs(first)
    elsewhere = run_suite(whole, Store(tmp_path / "elsewhere"))
    assert gather(elsewhere).model_dump_json() == found
    assert len(json.loads(found)["candidates"]) == 13


def test_an_added_candidate_leaves_what_is_stored_alone(exact: Path, store: Store, tmp_path: Path):
    run_suite(exact, store)
    before = listing(store)
    grown = tmp_path / "grown.toml"
    grown.write_text(exact.read_text() + '[candidates.cut]\nfrom = "right"\ntruncate = 8\n')
    plan = run_suite(grown, store)
    after = listing(store)
    folders = {str(Path(name).parent) for name in after.keys() - before.keys()}
    kinds = {name.split("/")[0] for name in folders} - {"."}
    assert kinds <= {"runs", "scorecards", "latency", "rates"}
    kept = {  # but for how long stages take on this device, where any took a second
        name: place
        for name, place in before.items()
        if name.count("/") > 1 and not name.startswith("rates/")
    }
    assert {name: after[name] for name in kept} == kept
    assert means(plan, "recall@20")["cut"] == 1.0


def test_what_was_done_before_a_failure_is_not_done_again(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    from safetensors.numpy import load_file, save_file

    broken = save_static(tmp_path / "broken", seed=5)
    good = (broken / "model.safetensors").read_bytes()
    tensors = {
        name: tensor * np.nan for name, tensor in load_file(broken / "model.safetensors").items()
    }
    save_file(tensors, broken / "model.safetensors")
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "good"
        collections.small.source = "beir:{beir}"
        [candidates.good]
        model = "{static_model}"
        [candidates.broken]
        model = "{broken}"
        """,
    )
    with pytest.raises(HarnessError, match="with broken: the model returns NaN") as caught:
        run_suite(suite, store)
    assert caught.value.exit_code is ExitCode.STAGE
    before = {name: place for name, place in listing(store).items() if name.endswith(".npy")}
    assert before
    (broken / "model.safetensors").write_bytes(good)
    plan = run_suite(suite, store)
    after = listing(store)
    assert {name: after[name] for name in before} == before
    assert set(means(plan, "ndcg@10")) == {"good", "broken"}


def test_a_store_that_can_not_be_written_is_told_before_anything_is_done(
    exact: Path, store: Store, tmp_path: Path
):
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot write") as caught:
        run_suite(exact, Store(tmp_path / "file" / "store"))
    assert caught.value.exit_code is ExitCode.STAGE
    with full_disk(after_bytes=1000), pytest.raises(HarnessError, match="cannot write"):
        run_suite(exact, store)
    assert [path.name for path in store.root.iterdir()] == ["staging"]
    run_suite(exact, store)


def test_damage_to_the_store_is_repaired_by_the_next_run(whole: Path, store: Store):
    found = gather(run_suite(whole, store)).model_dump_json()
    arrays = [
        path for path in sorted(store.root.rglob("*")) if path.suffix in {".npy", ".safetensors"}
    ]
    kinds = {path.relative_to(store.root).parts[0] for path in arrays}
    assert {"embeddings", "pair-scores", "runs", "scorecards", "weights"} < kinds
    for number, path in enumerate(arrays):
        if number % 3 == 0:
            path.unlink()
        elif number % 3 == 1 or path.suffix == ".safetensors":
            path.write_bytes(path.read_bytes()[:-1])
    assert gather(run_suite(whole, store)).model_dump_json() == found
