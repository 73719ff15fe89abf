"""What other tools read of results: trec_eval, mteb, ranx, MLflow, and tables for a text."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytrec_eval
from typer.testing import CliRunner

import harness
from harness.api import Results
from harness.cli import app
from harness.errors import ExitCode, HarnessError

QUERIES = {f"q {row}": word for row, word in enumerate(("apple", "pear", "plum tart", "cherry"))}
DOCUMENTS = {"d1": "apple pie", "d2": "pear tart", "d3": "plum tart", "d4": "apples and pears"}
GRADES = {
    "q 0": {"d1": 2, "d4": 1, "gone": 1},
    "q 1": {"d2": 1, "d4": 1},
    "q 2": {"d3": 1},
    "q 3": {"d4": 1},
}
for number in range(120):  # "gone" is less than a hundredth of what is judged
    QUERIES[f"x {number}"] = f"number{number}"
    DOCUMENTS[f"x{number}"] = f"the text of number{number + number % 2}"
    GRADES[f"x {number}"] = {f"x{number}": 1}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("exchange")
    return harness.Suite(
        "fruit",
        candidates={
            "as/written": {"kind": "bm25", "language": "none"},
            "stemmed": {"kind": "bm25", "language": "english"},
        },
        collections={
            "notes & more": {"documents": DOCUMENTS, "queries": QUERIES, "judgements": GRADES}
        },
        metrics=["ndcg@10", "rbp(0.8)@10"],
        baseline="as/written",
        store=folder / "store",
        results=folder / "results",
        progress=False,
    ).run()


def mean(results: Results, candidate: str) -> float:
    return results.values.score(candidate, "notes & more", "ndcg@10").mean


def test_trec_eval_gives_our_scores_of_the_runs_and_judgements(results: Results, tmp_path: Path):
    results.export(tmp_path / "out", to="trec")
    with (tmp_path / "out" / "qrels" / "notes___more.qrels").open() as file:
        judged = pytrec_eval.parse_qrel(file)
    assert judged["q%200"] == {"d1": 2, "d4": 1, "not-in-corpus-0": 1}
    with (tmp_path / "out" / "runs" / "notes___more" / "stemmed.trec").open() as file:
        run = pytrec_eval.parse_run(file)
    found = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(run)
    total = sum(each["ndcg_cut_10"] for each in found.values()) / len(judged)
    assert total == pytest.approx(mean(results, "stemmed"))


def test_mtebs_cache_reads_the_scores_beside_those_of_others(results: Results, tmp_path: Path):
    mteb = pytest.importorskip("mteb", reason="mteb is not installed (extra 'dev')")
    for _ in range(2):
        results.export(tmp_path, to="mteb")
    loaded = mteb.ResultCache(tmp_path).load_results(include_remote=False)
    scores = {model.model_name: task.get_score() for model in loaded for task in model.task_results}
    assert scores == {
        "harness/as_written": pytest.approx(mean(results, "as/written"), abs=1e-5),
        "harness/stemmed": pytest.approx(mean(results, "stemmed"), abs=1e-5),
    }
    assert loaded.task_names == ["notes & more"]


IN_RANX = """
import sys
import pytest, ranx
import harness

results = harness.open(sys.argv[1])
found = results.ranx()
assert list(found.runs) == ["as/written", "stemmed"]
assert found.qrels.to_dict()["q 0"] == {"d1": 2, "d4": 1, "not-in-corpus-0": 1}
metrics = ["ndcg@10", "mrr"]
value = ranx.evaluate(found.qrels, found.runs["stemmed"], metrics, make_comparable=True)
mean = results.values.score("stemmed", "notes & more", "ndcg@10").mean
assert value["ndcg@10"] == pytest.approx(mean)
again = harness.compare(found.runs, found.qrels, baseline="as/written")
assert again.pairs[0].difference == pytest.approx(results.values.comparisons[0].difference)
plain = {name: run.to_dict() for name, run in found.runs.items()}
of_plain = harness.compare(plain, found.qrels.to_dict(), baseline="as/written")
assert again.pairs == of_plain.pairs
with pytest.raises(harness.HarnessError, match="no collection 'x'"):
    results.ranx("x")
"""


@pytest.mark.parametrize(
    "interpreted",
    [True, pytest.param(False, marks=pytest.mark.slow)],  # compiling takes most of a minute
    ids=["interpreted", "compiled"],
)
def test_ranx_holds_the_runs_and_judgements_and_gives_our_scores(
    results: Results, *, interpreted: bool
):
    done = subprocess.run(
        [sys.executable, "-c", IN_RANX, results.folder],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": str(int(interpreted))},
    )
    assert done.returncode == 0, done.stderr


def test_mlflow_has_a_run_for_each_candidate_below_one_for_the_suite(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("mlflow", reason="mlflow is not installed (extra 'mlflow')")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # which new versions advise against
    from mlflow.tracking import MlflowClient

    results.export(tmp_path / "mlruns", to="mlflow")
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("fruit")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"fruit", "as/written", "stemmed"}
    whole = runs["fruit"].info.run_id
    names = {each.path for each in client.list_artifacts(whole)}
    assert {"report.html", "results.json"} <= names
    mine = runs["stemmed"].data
    assert mine.tags["mlflow.parentRunId"] == whole
    assert mine.params["kind"] == "bm25"
    assert mine.metrics["notes _ more/ndcg_at_10"] == pytest.approx(mean(results, "stemmed"))
    assert {"notes _ more/rbp_0.8__at_10_low", "notes _ more/ndcg_at_10_p"} <= set(mine.metrics)
    assert all(map(math.isfinite, mine.metrics.values()))


def test_what_mlflow_refuses_is_one_error(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("mlflow", reason="mlflow is not installed (extra 'mlflow')")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    with pytest.raises(HarnessError, match="mlruns: MLflow says: ") as caught:
        results.export(tmp_path / "mlruns", to="mlflow")
    assert caught.value.exit_code is ExitCode.STAGE


@pytest.mark.parametrize("form", ["markdown", "latex"])
def test_tables_hold_every_candidate_with_its_interval(form: str, results: Results, tmp_path: Path):
    path = tmp_path / "new" / "table"
    done = CliRunner().invoke(app, ["export", str(results.folder), str(path), "--to", form])
    assert (done.exit_code, done.stdout) == (0, f"{path}\n")
    text = path.read_text("utf-8")
    row = next(line for line in text.splitlines() if "stemmed" in line)
    assert f"{mean(results, 'stemmed'):.3f} [" in row
    assert "as/written (baseline)" in text
    if form == "latex":
        assert r"notes \& more" in text
        assert text.count("{") == text.count("}")
        assert text.isascii()


def test_what_cannot_be_exported_is_said(results: Results, tmp_path: Path):
    for to, message in (
        ("latx", "no export 'latx'. Did you mean 'latex'?"),
        ("model", "no export"),
    ):
        with pytest.raises(HarnessError, match=message.replace("?", r"\?")) as caught:
            results.export(tmp_path / "out", to=to)
        assert caught.value.exit_code is ExitCode.USAGE
    arguments = ["export", str(results.folder), str(tmp_path / "out"), "--to", "atlas"]
    done = CliRunner().invoke(app, arguments)
    assert "--to atlas: exports one candidate. Name it with --candidate." in str(done.exception)
    (tmp_path / "file").write_text("mine")
    for to in ("trec", "mteb"):
        with pytest.raises(HarnessError, match="file: cannot write"):
            results.export(tmp_path / "file", to=to)
