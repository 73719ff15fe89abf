"""The files of a finished suite, read back by the tools that they are for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytrec_eval

from harness.output.files import slugs, write_outputs
from harness.output.history import append_run, read_history
from harness.plan.execute import execute
from harness.plan.plan import Plan, make_plan
from harness.results.gathering import gather, gather_costs
from harness.results.values import Results
from harness.stage import Silent
from harness.store import Store
from harness.suite.load import load_suite
from reports import plots
from reports.stored import read_results

QRELS = {"q1": {"d1": 1, "d2": 2}, "q2": {"d3": 1}, "q3": {"d1": 1}}

SUITE = """
name = "small"
metrics = ["ndcg@10", "recall@100"]
baseline = "a/1"
[collections."notes 1"]
source = "beir:{folder}"
[candidates."a/1"]
vectors = {{ documents = "{folder}/docs.npy", queries = "{folder}/queries.npy" }}
[candidates."a_1"]
from = "a/1"
truncate = 2
"""


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Plan, Results, Path]:
    folder = tmp_path / "notes"
    (folder / "qrels").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, prefix, count in (("docs", "d", 40), ("queries", "q", 3)):
        ids = [f"{prefix}{number}" for number in range(1, count + 1)]
        np.save(folder / f"{name}.npy", generator.standard_normal((count, 4)).astype(np.float32))
        (folder / f"{name}.ids.txt").write_text("\n".join(ids) + "\n")
        kind = "corpus" if prefix == "d" else "queries"
        lines = [json.dumps({"_id": key, "text": f"text of {key}"}) for key in ids]
        (folder / f"{kind}.jsonl").write_text("\n".join(lines) + "\n")
    rows = [f"{q}\t{d}\t{grade}" for q, judged in QRELS.items() for d, grade in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]))
    path = tmp_path / "small.toml"
    path.write_text(SUITE.format(folder=folder))
    plan = make_plan(load_suite(path), Store(tmp_path / "store"), device="cpu", hub="refuse")
    execute(plan, progress=Silent())
    results = gather(plan)
    target = tmp_path / "results"
    write_outputs(plan, results, gather_costs(plan), target)
    return plan, results, target


def test_trec_eval_on_the_written_run_gives_the_scores_of_the_results(
    finished: tuple[Plan, Results, Path],
) -> None:
    _, results, folder = finished
    lines = (folder / "runs" / "notes_1" / "a_1.trec").read_text().splitlines()
    run: dict[str, dict[str, float]] = {}
    for line in lines:
        query, _, document, _, score, _ = line.split()
        run.setdefault(query, {})[document] = float(score)
    values = pytrec_eval.RelevanceEvaluator(QRELS, {"ndcg_cut.10"}).evaluate(run)
    mean = np.mean([values[query]["ndcg_cut_10"] for query in QRELS])
    assert results.score("a/1", "notes 1", "ndcg@10").mean == pytest.approx(mean, abs=1e-9)


def test_per_query_values_average_to_the_scores(finished: tuple[Plan, Results, Path]) -> None:
    _, results, folder = finished
    table = pd.read_parquet(folder / "per_query.parquet")
    assert len(table) == 2 * 2 * 3
    means = table.groupby(["candidate", "metric"], observed=True)["value"].mean()
    for (candidate, metric), mean in means.items():
        assert results.score(candidate, "notes 1", metric).mean == pytest.approx(mean)


def test_mteb_loads_the_exported_results(finished: tuple[Plan, Results, Path]) -> None:
    import mteb

    _, results, folder = finished
    paths = sorted((folder / "mteb" / "results").glob("*/*/notes_1.json"))
    assert len(paths) == 2
    loaded = mteb.TaskResult.from_disk(paths[0])
    main = loaded.scores["test"][0]["main_score"]
    assert main == pytest.approx(results.score("a/1", "notes 1", "ndcg@10").mean, abs=1e-5)
    assert "recall_at_100" in loaded.scores["test"][0]
    cache = mteb.ResultCache(folder / "mteb")
    assert {path.name for path in cache.get_cache_paths()} == {"notes_1.json"}


def test_the_exported_schema_is_that_of_published_results(
    finished: tuple[Plan, Results, Path],
) -> None:
    shared = Path(__file__).parents[2] / "shared" / "reference" / "mteb_results"
    if not shared.is_dir():
        pytest.skip("../shared with published MTEB results is not there")
    folder = shared / "sentence-transformers__all-MiniLM-L6-v2"
    published = json.loads(next(folder.glob("8b32*/SciFact.json")).read_text())
    [ours, _] = sorted((finished[2] / "mteb" / "results").glob("*/*/notes_1.json"))
    exported = json.loads(ours.read_text())
    assert set(published) <= set(exported) | {"mteb_dataset_name"}
    entry, reference = exported["scores"]["test"][0], published["scores"]["test"][0]
    assert set(entry) <= set(reference)


def test_an_older_folder_is_replaced_as_a_whole(finished: tuple[Plan, Results, Path]) -> None:
    plan, results, folder = finished
    (folder / "runs" / "old.trec").write_text("of a candidate that is gone")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"].append("runs/old.trec")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    write_outputs(plan, results, gather_costs(plan), folder)
    assert not (folder / "runs" / "old.trec").exists()
    assert [path.name for path in folder.parent.glob(".results.*")] == []


@pytest.mark.parametrize("version", ["this", "older"])
def test_files_of_a_reader_stay(finished: tuple[Plan, Results, Path], version: str) -> None:
    """This test once demanded that they go; but nobody else has a copy of them."""
    plan, results, folder = finished
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "results.json" in manifest["files"]
    if version == "older":  # it listed no files
        del manifest["files"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "notes").mkdir()
    for name in ("notes/mine.txt", "slides.pdf"):
        (folder / name).write_text(name)
    for _ in range(2):
        write_outputs(plan, results, gather_costs(plan), folder)
        for name in ("notes/mine.txt", "slides.pdf"):
            assert (folder / name).read_text() == name
    again = json.loads((folder / "manifest.json").read_text())
    assert "slides.pdf" not in again["files"]


def test_the_manifest_holds_what_the_user_said_and_no_defaults(
    finished: tuple[Plan, Results, Path],
) -> None:
    said = json.loads((finished[2] / "manifest.json").read_text())["said"]
    assert said["candidates"]["a_1"] == {"from": "a/1", "truncate": 2}
    assert "seed" not in said


def test_names_that_differ_in_case_or_signs_get_different_files() -> None:
    assert len({slug.lower() for slug in slugs(["A/b", "a_b", "a/b", "<script>"]).values()}) == 4


def test_long_names_get_short_and_different_files() -> None:
    found = slugs(["\u00e9" * 3000, "\u00e9" * 3001, "plain"])
    assert max(len(slug.encode()) for slug in found.values()) < 90
    assert len(set(found.values())) == 3
    assert found["plain"] == "plain"


def test_what_one_sees_of_a_query_is_its_run_its_texts_and_its_judgements(
    finished: tuple[Plan, Results, Path],
) -> None:
    plan, _, folder = finished
    top = pd.read_parquet(folder / "top.parquet")
    assert len(top) == 2 * 3 * 40  # every run holds all documents
    mine = top[(top["candidate"] == "a_1") & (top["query_id"] == "q1")]
    assert mine["rank"].tolist() == list(range(1, 41))
    run = plan.scored["a_1", "notes 1"].run_stage.result(plan.store)
    texts = plan.collections["notes 1"]
    assert mine["document_id"].tolist() == [texts.document_ids[row] for row in run.documents[0]]
    assert mine["score"].to_numpy() == pytest.approx(run.scores[0])
    grades = mine.dropna(subset="grade").set_index("document_id")["grade"].to_dict()
    assert grades == QRELS["q1"]
    queries = pd.read_parquet(folder / "queries.parquet")
    assert queries["text"].tolist() == [f"text of q{number}" for number in (1, 2, 3)]
    documents = pd.read_parquet(folder / "documents.parquet").set_index("document_id")["text"]
    assert documents["d17"] == "text of d17"


def test_every_run_adds_a_line_to_the_history_beside_its_folder(
    finished: tuple[Plan, Results, Path],
) -> None:
    plan, results, folder = finished
    write_outputs(plan, results, gather_costs(plan), folder)
    with (folder.parent / "results.history.jsonl").open("a") as file:
        file.write('{"time": "cut by a full di')
    first, second = read_history(folder)
    assert first.scores == second.scores
    assert first.scores[1].mean == results.score("a_1", "notes 1", "ndcg@10").mean
    assert first.collections == {"notes 1": plan.collections["notes 1"].key}


def test_the_history_shows_runs_that_changed_a_score(
    finished: tuple[Plan, Results, Path],
) -> None:
    plan, results, folder = finished
    write_outputs(plan, results, gather_costs(plan), folder)
    assert list(plots.history(read_results(folder), "notes 1")) == []
    [run, _] = read_history(folder)
    worse = run.scores[0].model_copy(update={"mean": 0.1})
    append_run(folder, run.model_copy(update={"scores": [worse, *run.scores[1:]]}))
    [plot] = plots.history(read_results(folder), "notes 1")
    assert plot.title == "ndcg@10 of 2 runs"
