"""A diagnosis from the suite file to its files, on small real models."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import plan_of, run_suite, sentences, write_beir, write_suite

from harness.diagnosis.diagnose import (
    DiagnosisPlan,
    check_diagnosis,
    diagnose_beside_baseline,
    find_diagnosis,
    plan_diagnosis,
    read_diagnosis,
    read_rows,
)
from harness.diagnosis.files import rows_as_parquet
from harness.errors import ExitCode, HarnessError
from harness.output.files import write_diagnosis
from harness.plan.execute import execute
from harness.plan.plan import Plan
from harness.stage import Silent
from harness.store import Store

SUITE = """
baseline = "static"
[collections.small]
source = "beir:{beir}"
[candidates.static]
model = "{static}"
[candidates.words]
kind = "bm25"
[candidates.bert]
model = "{bert}"
"""


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Return 80 queries of which the ones about "ba" ask for a document with other words."""
    texts = sentences(80, seed=3, words=8)
    documents = {f"d{row:02}": text for row, text in enumerate(texts)}
    documents["d80"] = texts[0]
    return write_beir(
        tmp_path / "planted",
        documents=documents,
        queries={f"q{row:02}": text[:11] for row, text in enumerate(texts)},
        qrels={
            "test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(60)],
            "train": [(f"q{row:02}", f"d{row:02}", 1) for row in range(60, 80)],
        },
    )


def suite(tmp_path: Path, beir: Path, static: Path, bert: Path, more: str = "") -> Path:
    text = SUITE.format(beir=beir, static=static, bert=bert) + more
    return write_suite(tmp_path / "suite.toml", text)


def diagnosed(plan: Plan) -> DiagnosisPlan:
    made = plan_diagnosis(plan)
    execute(replace(plan, stages=made.stages), progress=Silent())
    return made


def test_a_diagnosis_is_of_the_baseline_and_the_recommended_or_best_other(
    tmp_path: Path, collection: Path, static_model: Path, bert_model: Path, store: Store
):
    plan = run_suite(suite(tmp_path, collection, static_model, bert_model), store)
    assert find_diagnosis(plan) is None
    made = diagnosed(plan)
    found = read_diagnosis(made)
    stored = find_diagnosis(plan)
    assert stored is not None
    assert read_diagnosis(stored) == found
    assert [one.candidate for one in found.candidates] == ["static", "words"]
    assert found.candidates[0].neutral == "bert, a candidate that is neither baseline nor diagnosed"
    for one in found.candidates:
        assert sum(stage.n for stage in one.stages) == one.n == 60
        parts = (one.gap.achieved, one.gap.ordering_loss, one.gap.first_stage_loss)
        assert sum(parts) == pytest.approx(1)
    [health] = found.data
    assert health.duplicate_groups == [["d00", "d80"]]
    assert [bounds.candidate for bounds in health.bounds] == ["static", "words", "bert"]
    assert all(each.low <= each.mean <= each.high for each in health.bounds)
    diagnose_beside_baseline(plan, "bert")
    explained = plan_diagnosis(plan).explained
    assert [each.subject.candidate for each in explained] == ["static", "bert"]
    assert find_diagnosis(plan) is None
    diagnose_beside_baseline(plan, None)
    assert find_diagnosis(plan) is not None


def test_a_second_look_computes_nothing_and_a_changed_question_looks_again(
    tmp_path: Path, collection: Path, static_model: Path, bert_model: Path, store: Store
):
    path = suite(tmp_path, collection, static_model, bert_model)
    diagnosed(run_suite(path, store))
    assert plan_diagnosis(run_suite(path, store)).is_done
    more = '[diagnosis]\nk = 3\ncandidates = ["words"]\n'
    changed = run_suite(suite(tmp_path, collection, static_model, bert_model, more), store)
    assert find_diagnosis(changed) is None
    assert read_diagnosis(diagnosed(changed)).k == 3


def test_every_file_of_a_diagnosis_is_written_and_the_old_ones_are_gone(
    tmp_path: Path, collection: Path, static_model: Path, bert_model: Path, store: Store
):
    plan = run_suite(suite(tmp_path, collection, static_model, bert_model), store)
    made = diagnosed(plan)
    folder = tmp_path / "results"
    (folder / "slices").mkdir(parents=True)
    (folder / "slices" / "small.static.c9.txt").write_text("q1\n", "utf-8")
    (folder / "slices" / "mine.txt").write_text("q1\n", "utf-8")
    write_diagnosis(made, read_diagnosis(made), folder)
    slices = {path.name for path in (folder / "slices").iterdir()}
    assert "mine.txt" in slices
    assert "small.static.c9.txt" not in slices
    table = pq.read_table(folder / "diagnosis.parquet")
    assert table.num_rows == 120
    ranks = table.column("rank").to_pylist()
    stages = table.column("stage").to_pylist()
    assert all(
        (stage == "retrieved") == (rank <= 10)
        for stage, rank in zip(stages, ranks, strict=True)
        if rank
    )
    queue = (folder / "unjudged.small.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(queue)))
    assert ("q00", "d80") in {(row["query_id"], row["document_id"]) for row in rows}
    assert {row["grade"] for row in rows} == {""}


def test_the_queue_of_one_diagnosis_is_the_judgements_of_the_next(
    tmp_path: Path, collection: Path, static_model: Path, bert_model: Path, store: Store
):
    plan = run_suite(suite(tmp_path, collection, static_model, bert_model), store)
    made = diagnosed(plan)
    write_diagnosis(made, read_diagnosis(made), tmp_path / "results")
    queue = tmp_path / "results" / "unjudged.small.csv"
    rows = list(csv.reader(io.StringIO(queue.read_text("utf-8"))))
    filled = [rows[0], *([*row[:2], "1" if row[1] == "d80" else "", *row[3:]] for row in rows[1:])]
    with (tmp_path / "filled.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(filled)
    text = SUITE.format(beir=collection, static=static_model, bert=bert_model).replace(
        "[candidates.static]", f'judgements = "{tmp_path / "filled.csv"}"\n[candidates.static]'
    )
    again = run_suite(write_suite(tmp_path / "again.toml", text), store)
    judged = again.collections["small"].judgements
    assert len(judged.grades) == 61
    assert find_diagnosis(again) is None  # other judgements, another diagnosis
    [health] = read_diagnosis(diagnosed(again)).data
    assert ("q00", "d80") not in {(each.query, each.document) for each in health.unjudged}


def test_a_fine_tuned_candidate_is_seen_beside_its_training_pairs(
    tmp_path: Path, collection: Path, static_model: Path, bert_model: Path, store: Store
):
    more = """
    [candidates.tuned]
    from = "static"
    finetune = { data = "small:train", batch_size = 8 }
    [diagnosis]
    candidates = ["tuned", "words"]
    training = { words = "small:train" }
    """
    plan = run_suite(suite(tmp_path, collection, static_model, bert_model, more), store)
    tuned, words = read_diagnosis(diagnosed(plan)).candidates
    assert tuned.training is not None
    assert words.training is not None
    assert tuned.training.source == "small:train, as 'tuned' learned from it"
    assert words.training.source == "small:train"
    assert tuned.training.pairs == words.training.pairs > 0
    assert -1 <= tuned.training.coverage[0].nearest <= 1


def test_a_neutral_space_that_is_not_there_is_told_with_its_line(
    tmp_path: Path, collection: Path, static_model: Path, bert_model: Path, store: Store
):
    more = '[diagnosis]\nneutral = "words"\n'
    path = suite(tmp_path, collection, static_model, bert_model, more)
    with pytest.raises(HarnessError, match="'words' has no model that could encode"):
        check_diagnosis(plan_of(path, store))  # before anything has run
    plan = run_suite(path, store)
    assert find_diagnosis(plan) is None
    with pytest.raises(HarnessError, match="'words' has no model that could encode") as caught:
        plan_diagnosis(plan)
    assert caught.value.exit_code is ExitCode.USAGE


def test_rows_have_places_in_the_unit_square(
    tmp_path: Path, collection: Path, static_model: Path, bert_model: Path, store: Store
):
    made = diagnosed(run_suite(suite(tmp_path, collection, static_model, bert_model), store))
    for rows in read_rows(made):
        assert rows.places.shape == (60, 2)
        assert np.abs(rows.places).max() == pytest.approx(1)
    assert rows_as_parquet(read_rows(made)) == rows_as_parquet(read_rows(made))
