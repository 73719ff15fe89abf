"""The tables that people look at a single query in."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from conftest import run_suite, write_beir, write_suite

from harness.output.inspection import write_inspection
from harness.store import Store


def written(
    tmp_path: Path, *, documents: dict[str, str], qrels: list[tuple[str, str, int]]
) -> Path:
    data = write_beir(
        tmp_path / "data",
        documents=documents,
        queries={"q1": "apple", "q2": "cake"},
        qrels={"test": qrels},
    )
    suite = write_suite(
        tmp_path / "suite.toml",
        f'baseline = "words"\ncollections.fruit.source = "beir:{data}"\n'
        'candidates.words.kind = "bm25"\n',
    )
    folder = tmp_path / "tables"
    folder.mkdir()
    plan = run_suite(suite, Store(tmp_path / "store"))
    [(name, stage)] = [(name, stage) for (name, _), stage in plan.scored.items()]
    run = stage.run_stage.result(plan.store)
    write_inspection(folder, plan.collections, lambda _: [(name, run)])
    return folder


def test_a_graded_document_has_its_grade_and_an_unjudged_one_has_none(tmp_path: Path):
    folder = written(
        tmp_path,
        documents={"d1": "apple pie", "d2": "apple tart", "d3": "apple cake"},
        qrels=[("q1", "d1", 2), ("q1", "d2", 0), ("q2", "d3", 1)],
    )
    rows = pq.read_table(folder / "top.parquet").to_pylist()
    grades = {row["document_id"]: row["grade"] for row in rows if row["query_id"] == "q1"}
    assert grades == {"d1": 2, "d2": 0, "d3": None}


def test_row_groups_are_small_enough_to_fetch_one_text_cheaply(tmp_path: Path):
    many = {f"d{row:04}": f"apple {row}" for row in range(600)}
    judged = [("q1", document, 1) for document in many] + [("q2", "d0000", 1)]
    folder = written(tmp_path, documents=many, qrels=judged)
    groups = pq.ParquetFile(folder / "documents.parquet").metadata
    assert groups.num_rows == 600
    assert groups.num_row_groups == 3
