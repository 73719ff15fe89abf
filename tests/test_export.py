"""A trained candidate is trained alone, and copied out with what is known about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import plan_of, write_suite
from huggingface_hub import ModelCard

from harness.errors import ExitCode, HarnessError
from harness.output.export import export
from harness.plan.execute import execute
from harness.plan.plan import Plan
from harness.results.gathering import scores
from harness.stage import Silent
from harness.store import Store
from harness.training.finetune import Train


@pytest.fixture
def suite(tmp_path: Path, beir: Path, static_model: Path) -> Path:
    return write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        [collections.small]
        source = "beir:{beir}"
        [candidates.words]
        kind = "bm25"
        [candidates.static]
        model = "{static_model}"
        prompts = {{ query = "ba be ", document = "di " }}
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "small:train", batch_size = 8, seeds = 2, leaks = "allow" }}
        [candidates.short]
        from = "tuned"
        truncate = 8
        [candidates.halfway]
        from = "tuned"
        interpolate = 0.5
        """,
    )


@pytest.mark.parametrize("model", ["bert_model", "cross_encoder"])
def test_an_exported_reranker_is_loaded_as_a_cross_encoder(
    model: str, request: pytest.FixtureRequest, suite: Path, store: Store, tmp_path: Path
):
    from sentence_transformers import CrossEncoder

    how = f'model = "{request.getfixturevalue(model)}", depth = 5'
    trains = 'finetune = { data = "small:train", max_steps = 3, leaks = "allow" }'
    more = f"[candidates.second]\nfrom = 'words'\nrerank = {{ {how}, {trains} }}\n"
    suite.write_text(f"{suite.read_text()}\n{more}")
    plan = trained(suite, store, "second")
    folder = export(plan, "second", tmp_path / "out")
    execute(plan, progress=Silent())
    loaded = CrossEncoder(str(folder), device="cpu")
    run = plan.planner.run_stage("second", "small").result(store)
    texts = plan.collections["small"]
    pairs = [(texts.queries[0], texts.documents[row]) for row in run.documents[0, :5]]
    assert (np.diff(loaded.predict(pairs)) <= 1e-6).all()
    assert 'CrossEncoder("path' in (folder / "README.md").read_text()


def trained(suite: Path, store: Store, name: str) -> Plan:
    plan = plan_of(suite, store)
    execute(plan, progress=Silent(), stages=plan.makes(name))
    return plan


def test_training_one_candidate_makes_its_weights_for_every_seed_and_nothing_else(
    suite: Path, store: Store
):
    plan = trained(suite, store, "short")
    assert [type(stage) for stage in plan.makes("short")] == [Train, Train]
    assert len(store.list("weights")) == 2
    assert not store.list("runs")


@pytest.mark.parametrize("name", ["tuned", "halfway"])
def test_an_exported_model_gives_the_vectors_of_the_candidate(
    name: str, suite: Path, store: Store, tmp_path: Path
):
    from sentence_transformers import SentenceTransformer

    plan = trained(suite, store, name)
    folder = export(plan, name, tmp_path / "out")
    assert "- loss: multiple-negatives" in (folder / "README.md").read_text()
    execute(plan, progress=Silent())
    documents, queries = plan.planner.space(name, "small").read(store)
    loaded = SentenceTransformer(str(folder), device="cpu")
    first, small = np.arange(5), plan.collections["small"]
    found = loaded.encode_document(list(small.documents[:5]), normalize_embeddings=True)
    assert np.allclose(found, documents.take(first), atol=1e-5)
    found = loaded.encode_query(list(small.queries[:5]), normalize_embeddings=True)
    assert np.allclose(found, queries.take(first), atol=1e-5)


def test_the_card_says_data_licence_loss_seeds_and_scores_with_intervals(
    suite: Path, store: Store, tmp_path: Path
):
    plan = trained(suite, store, "tuned")
    before = export(plan, "tuned", tmp_path / "before") / "README.md"
    assert "The suite has not been run since training." in before.read_text()
    execute(plan, progress=Silent())
    text = (export(plan, "tuned", tmp_path / "after") / "README.md").read_text()
    card = ModelCard(text)
    result = card.data.eval_results[0]
    assert (result.dataset_name, result.dataset_split) == ("small", "test")
    assert (result.metric_type, result.metric_name) == ("ndcg_at_10", "ndcg@10")
    [score] = [each for each in scores(plan, "tuned", "small") if each.metric == "ndcg@10"]
    assert result.metric_value == pytest.approx(score.mean, abs=1e-5)
    assert ModelCard(before.read_text()).data.eval_results is None
    for said in (
        "loss: multiple-negatives",
        "`small:train`",
        "- seed: 13, one of 2: [13, 14]",
        "| small | ndcg@10 | 0.",
        "rows kept (dropped: ",
        "; licence: not stated",
        "| 20 |",
    ):
        assert said in text


def test_what_can_not_be_trained_or_exported_is_told(
    suite: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan = plan_of(suite, store)
    with pytest.raises(HarnessError, match="no candidate 'tunde'") as caught:
        plan.makes("tunde")
    assert caught.value.exit_code is ExitCode.USAGE
    with pytest.raises(HarnessError, match="'words' is not trained here"):
        plan.makes("words")
    with pytest.raises(HarnessError, match="'short' has no weights of its own"):
        export(plan, "short", tmp_path / "out")
    with pytest.raises(HarnessError, match="is not trained yet"):
        export(plan, "tuned", tmp_path / "out")
    trained(suite, store, "tuned")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    with pytest.raises(HarnessError, match="is not empty"):
        export(plan, "tuned", tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "kept"
    (tmp_path / "file").write_text("kept")
    with pytest.raises(HarnessError, match=r"file: a file, not a folder"):
        export(plan, "tuned", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    monkeypatch.chdir(tmp_path / "full")
    for place in (".", ".."):
        with pytest.raises(HarnessError, match="the current folder") as caught:
            export(plan, "tuned", Path(place))
        assert caught.value.exit_code is ExitCode.USAGE
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(HarnessError, match="cannot write, got Symlink loop"):
        export(plan, "tuned", tmp_path / "loop")


def test_an_export_removes_nothing_beside_it_and_keeps_a_link(
    suite: Path, store: Store, tmp_path: Path
):
    trained(suite, store, "tuned")
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "mine.txt").write_text("kept")
    (tmp_path / "large").mkdir()
    (tmp_path / "out").symlink_to("large")
    export(plan_of(suite, store), "tuned", tmp_path / "out")
    assert (tmp_path / ".out.new" / "mine.txt").read_text() == "kept"
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "large" / "README.md").is_file()
