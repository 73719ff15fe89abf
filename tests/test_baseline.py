"""The stored baseline: per-query scores, what they belong to, and when they are refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gate_suites import GateSuite, gate_suite, lowered

from harness.errors import ExitCode, HarnessError
from harness.gates.baseline import (
    About,
    StoredBaseline,
    StoredScores,
    accepted,
    check_comparable,
    make_baseline,
    paired_values,
    read_baseline,
    write_baseline,
)
from harness.gates.targets import find_targets

QUALITY = '[gates.quality]\nrule = "no_worse"\n'
SAME = [1] * 60


@pytest.fixture
def suite(tmp_path: Path) -> GateSuite:
    ranks = {
        "used": SAME,
        "near": lowered(60, lost=3),
        "far": lowered(60, lost=30),
        "farther": lowered(60, lost=30, to=0),
    }
    return gate_suite(tmp_path / "suite", QUALITY, ranks=ranks)


def refusal(path: Path) -> HarnessError:
    with pytest.raises(HarnessError) as caught:
        read_baseline(path, suite_file="small.toml")
    return caught.value


def with_scores(
    stored: StoredBaseline, ids: tuple[str, ...], values: dict[str, Any]
) -> StoredBaseline:
    return dataclasses.replace(stored, scores={"notes": StoredScores(ids, values)})


def what_differs(suite: GateSuite, stored: StoredBaseline) -> str:
    plan = suite.plan()
    with pytest.raises(HarnessError) as caught:
        check_comparable(stored, Path("b.parquet"), plan, find_targets(plan))
    assert caught.value.exit_code is ExitCode.DATA
    return str(caught.value)


def test_what_is_written_is_what_is_read(suite: GateSuite, tmp_path: Path):
    stored = make_baseline(suite.plan())
    path = tmp_path / "baselines" / "small.parquet"
    write_baseline(path, stored)
    again = read_baseline(path, suite_file="small.toml")
    assert again.about == stored.about
    assert again.about.candidate.name == "used"
    assert again.about.metrics == ["mrr@10", "recall@10"]
    assert again.scores["notes"].query_ids == stored.scores["notes"].query_ids
    for metric, values in stored.scores["notes"].values.items():
        assert np.array_equal(again.scores["notes"].values[metric], values)
    assert [entry.name for entry in path.parent.iterdir()] == ["small.parquet"]


def test_the_spread_is_the_median_over_the_other_candidates(suite: GateSuite):
    stored = make_baseline(suite.plan())
    middle = np.std([-0.5] * 30 + [0.0] * 30, ddof=1)
    assert stored.spread("notes", "mrr@10") == pytest.approx(middle)
    assert stored.spread("notes", "mrr@5") is None


def test_without_another_candidate_no_spread_is_known(tmp_path: Path):
    alone = gate_suite(tmp_path, QUALITY, ranks={"used": SAME})
    assert make_baseline(alone.plan()).about.sd == {}


def test_an_accepted_baseline_keeps_the_older_spreads(suite: GateSuite):
    first = make_baseline(suite.plan())
    suite.ranks("used", lowered(60, lost=6))
    second = accepted(make_baseline(suite.plan()), first)
    third = accepted(make_baseline(suite.plan()), second)
    assert [each.sd for each in third.about.history] == [first.about.sd, second.about.sd]
    assert third.scores["notes"].values["mrr@10"].mean() == pytest.approx(0.95)


def test_scores_are_paired_by_the_id_of_the_query():
    stored = StoredScores(("q2", "q1"), {"mrr@10": np.array([0.2, 0.1])})
    assert paired_values(stored, ("q1", "q2"), "mrr@10").tolist() == [0.1, 0.2]


def test_other_names_and_paths_of_the_same_data_are_comparable(suite: GateSuite):
    stored = make_baseline(suite.plan())
    (suite.folder / "notes").rename(suite.folder / "moved")
    text = suite.path.read_text()
    suite.path.write_text(text.replace(f"{suite.folder}/notes", f"{suite.folder}/moved"))
    plan = suite.plan()
    check_comparable(stored, Path("b.parquet"), plan, find_targets(plan))


def test_other_documents_queries_judgements_and_splits_are_named(suite: GateSuite):
    stored = make_baseline(suite.plan())
    folder = suite.folder / "notes"
    corpus, queries = folder / "corpus.jsonl", folder / "queries.jsonl"
    qrels = folder / "qrels" / "test.tsv"
    texts = {path: path.read_text() for path in (corpus, queries, qrels)}

    corpus.write_text(texts[corpus].replace("junk 3", "rubbish 3"))
    assert "on 'notes': different documents (stored " in what_differs(suite, stored)
    corpus.write_text(texts[corpus])

    queries.write_text(texts[queries].replace("what is 7", "who is 7"))
    assert "on 'notes': different queries (" in what_differs(suite, stored)
    queries.write_text(texts[queries])

    qrels.write_text(texts[qrels] + "q00001\tj1\t1\n")
    assert "on 'notes': different judgements (" in what_differs(suite, stored)

    qrels.rename(qrels.with_name("dev.tsv"))
    dev = texts[qrels]
    qrels.with_name("dev.tsv").write_text(dev)
    suite.path.write_text(
        suite.path.read_text().replace("[gates", 'collections.notes.split = "dev"\n[gates', 1)
    )
    message = what_differs(suite, stored)
    assert "a different split ('test', now 'dev')" in message
    assert f"harness baseline accept {suite.path}" in message


def test_a_metric_or_a_collection_that_was_not_stored_is_named(suite: GateSuite):
    stored = make_baseline(suite.plan())
    text = suite.path.read_text()
    suite.path.write_text(text.replace('"recall@10"', '"ndcg@10"') + 'metric = "ndcg@10"\n')
    assert "no scores in ndcg@10" in what_differs(suite, stored)
    suite.path.write_text(text.replace('collections."notes"', 'collections."mails"'))
    for file in suite.folder.glob("*-notes.trec"):
        file.rename(suite.folder / file.name.replace("notes", "mails"))
    assert "on 'mails': no scores of this collection" in what_differs(suite, stored)


def test_no_stored_baseline_is_a_mistake_of_the_call_with_its_fix(tmp_path: Path):
    error = refusal(tmp_path / "none.parquet")
    assert error.exit_code is ExitCode.USAGE
    assert "harness baseline save small.toml" in str(error)


def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path):
    text = tmp_path / "text.parquet"
    text.write_text("not Parquet")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    newer = tmp_path / "newer.parquet"
    pq.write_table(pa.table({"a": [1]}, metadata={"embedding_harness": '{"format": 99}'}), newer)
    for path in (text, other, newer):
        error = refusal(path)
        assert error.exit_code is ExitCode.DATA
        assert "not a stored baseline" in str(error)


def test_a_stored_score_that_is_not_a_number_or_a_lost_query_is_refused(
    suite: GateSuite, tmp_path: Path
):
    stored = make_baseline(suite.plan())
    path = tmp_path / "b.parquet"
    scores = stored.scores["notes"]
    broken = {**scores.values, "mrr@10": np.r_[np.nan, scores.values["mrr@10"][1:]]}
    write_baseline(path, with_scores(stored, scores.query_ids, broken))
    assert "a score of 'notes' in mrr@10 is not a number" in str(refusal(path))
    fewer = {metric: values[1:] for metric, values in scores.values.items()}
    write_baseline(path, with_scores(stored, scores.query_ids[1:], fewer))
    assert "59 queries of 'notes' instead of 60" in str(refusal(path))


@pytest.mark.parametrize("score", [5.0, -1.0, 1.01, np.inf])
def test_a_stored_score_that_no_metric_gives_is_refused(
    suite: GateSuite, tmp_path: Path, score: float
):
    stored = make_baseline(suite.plan())
    scores = stored.scores["notes"]
    broken = {**scores.values, "mrr@10": np.r_[score, scores.values["mrr@10"][1:]]}
    path = tmp_path / "b.parquet"
    write_baseline(path, with_scores(stored, scores.query_ids, broken))
    error = refusal(path)
    assert error.exit_code is ExitCode.DATA
    assert "mrr@10" in str(error)


def damaged(path: Path, change: Callable[[pa.Table, dict[str, Any]], pa.Table]) -> None:
    """Write a stored baseline again with another table or description, as by hand."""
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    about = json.loads(metadata[b"embedding_harness"])
    table = change(table, about)
    metadata[b"embedding_harness"] = json.dumps(about).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path)


def with_column(name: str, values: list[Any]) -> Callable[[pa.Table, dict[str, Any]], pa.Table]:
    def change(table: pa.Table, _: dict[str, Any]) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, pa.array(values))

    return change


def with_about(**changes: Any) -> Callable[[pa.Table, dict[str, Any]], pa.Table]:
    def change(table: pa.Table, about: dict[str, Any]) -> pa.Table:
        about.update(changes)
        return table

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_column("mrr@10", ["high"] * 60),
        with_column("mrr@10", [None] * 60),
        with_column("mrr@10", [1] * 60),
        with_column("mrr@10", [0.5] * 60),
        with_column("query_id", [f"other{row}" for row in range(60)]),
        with_column("query_id", list(range(60))),
        with_column("query_id", [None] * 60),
        with_column("query_id", [[1]] * 60),
        with_column("collection", ["elsewhere"] * 60),
        with_column("collection", [[1]] * 60),
        with_about(sd={}),
        with_about(sd={"notes": {"mrr@10": -1.0, "recall@10": 0.1}}),
        with_about(format=7),
        with_about(metrics=["mrr@10"]),
        with_about(metrics=["mrr@10", "recall@10", "ndcg@10"]),
        with_about(collections={}),
    ],
)
def test_a_damaged_baseline_is_refused_with_3(
    suite: GateSuite, tmp_path: Path, change: Callable[[pa.Table, dict[str, Any]], pa.Table]
):
    path = tmp_path / "b.parquet"
    write_baseline(path, make_baseline(suite.plan()))
    damaged(path, change)
    error = refusal(path)
    assert error.exit_code is ExitCode.DATA
    assert str(error).startswith(f"{path}: ")


def test_scores_of_other_query_ids_are_not_comparable(suite: GateSuite):
    stored = make_baseline(suite.plan())
    scores = stored.scores["notes"]
    ids = ("unknown", *scores.query_ids[1:])
    assert "scores of different query ids" in what_differs(
        suite, with_scores(stored, ids, dict(scores.values))
    )


def test_a_baseline_from_before_rankings_were_stored_is_read(suite: GateSuite, tmp_path: Path):
    path = tmp_path / "b.parquet"
    stored = make_baseline(suite.plan())
    about = stored.about.model_copy(update={"rankings": {}})
    write_baseline(path, dataclasses.replace(stored, about=about))
    table = pq.read_table(path)
    kept = {b"embedding_harness": table.schema.metadata[b"embedding_harness"]}
    pq.write_table(table.replace_schema_metadata(kept), path)
    assert read_baseline(path, suite_file="small.toml").about == about


def test_a_folder_that_can_not_be_written_exits_with_4(suite: GateSuite, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(HarnessError) as caught:
        write_baseline(blocked / "b.parquet", make_baseline(suite.plan()))
    assert caught.value.exit_code is ExitCode.STAGE


def test_ten_thousand_queries_of_four_metrics_take_less_than_a_megabyte(
    suite: GateSuite, tmp_path: Path
):
    rng = np.random.default_rng(5)
    n = 10_000
    ndcg = 1 / np.log2(rng.integers(2, 12, size=(n, 3)))
    values = {
        "ndcg@10": ndcg.mean(axis=1),
        "mrr@10": 1 / rng.integers(1, 11, n),
        "recall@10": rng.integers(0, 4, n) / 3,
        "map@10": rng.random(n).round(4),
    }
    about = json.loads(make_baseline(suite.plan()).about.model_dump_json())
    about["metrics"] = list(values)
    about["collections"]["notes"]["queries"] = n
    ids = tuple(f"query-{row:06}-{rng.integers(1e6):06}" for row in range(n))
    stored = StoredBaseline(About.model_validate(about), {"notes": StoredScores(ids, values)})
    path = tmp_path / "b.parquet"
    write_baseline(path, stored)
    assert path.stat().st_size < 1_000_000
    assert read_baseline(path, suite_file="x").scores["notes"].query_ids == ids
