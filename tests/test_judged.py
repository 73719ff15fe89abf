from __future__ import annotations

from pathlib import Path

import pytest
from conftest import plan_of, write_beir, write_suite

from harness.errors import ExitCode, HarnessError
from harness.store import Store

SUITE = """
baseline = "words"
[candidates.words]
kind = "bm25"
[collections.small]
source = "beir:{folder}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_beir(
        tmp_path / "small",
        documents={"d1": "red apple", "d2": "green apple", "d3": "blue sky"},
        queries={"q1": "apple", "q2": "sky", "q3": "only for training"},
        qrels={"test": [("q1", "d1", 1), ("q2", "d3", 1)], "train": [("q3", "d3", 1)]},
    )


def planned(tmp_path: Path, folder: Path, csv: str):
    path = tmp_path / "judged.csv"
    path.write_text(csv, "utf-8")
    text = SUITE.format(folder=folder) + f'judgements = "{path}"\n'
    return plan_of(write_suite(tmp_path / "suite.toml", text), Store(tmp_path / "store"))


def plain(tmp_path: Path, folder: Path):
    suite = write_suite(tmp_path / "plain.toml", SUITE.format(folder=folder))
    return plan_of(suite, Store(tmp_path / "store"))


def test_a_filled_in_queue_adds_and_changes_judgements(tmp_path: Path, folder: Path):
    made = planned(
        tmp_path,
        folder,
        "query_id,document_id,grade,query,document,why\n"
        "q1,d2,2,apple,green apple,both return it\n"
        "q2,d3,0,sky,blue sky,\n"
        "q2,d1,1,,,\n"
        "q1,d3,skip,apple,blue sky,not judged yet\n",
    )
    collection = made.collections["small"]
    judged = collection.judgements
    triples = {
        (collection.query_ids[query], collection.document_ids[document], int(grade))
        for query, document, grade in zip(
            judged.queries, judged.documents, judged.grades, strict=True
        )
    }
    assert triples == {("q1", "d1", 1), ("q1", "d2", 2), ("q2", "d1", 1), ("q2", "d3", 0)}
    assert collection.key != plain(tmp_path, folder).collections["small"].key
    [told] = [
        problem.message
        for problem in made.planner.inputs.problems["small"]
        if problem.check == "judgements-file"
    ]
    assert "(2 added, 1 changed, 0 the same; 1 row without a grade left out)" in told


def test_grades_are_all_judgements_where_a_folder_has_none(tmp_path: Path, folder: Path):
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    rows = "q1,d1,1\nq2,d3,1\nq2,d1,bad query\nq9,d1,1\n"
    with pytest.raises(HarnessError, match="query 'q9' is not in"):
        planned(tmp_path, folder, f"query_id,document_id,grade\n{rows}")
    made = planned(tmp_path, folder, f"query_id,document_id,grade\n{rows[:-8]}")
    assert made.collections["small"].query_ids == ("q1",)


def test_a_queue_without_grades_changes_nothing(tmp_path: Path, folder: Path):
    made = planned(tmp_path, folder, "query_id,document_id,grade\nq1,d2,\n")
    assert made.collections["small"].key == plain(tmp_path, folder).collections["small"].key


def test_everything_that_is_wrong_with_the_file_is_told_at_once(tmp_path: Path, folder: Path):
    with pytest.raises(HarnessError) as caught:
        planned(
            tmp_path,
            folder,
            "query_id,document_id,grade\nq9,d1,1\nq3,d1,1\nq1,d9,1\nq1,d2,yes\nq2,d1,1\nq2,d1,0\n",
        )
    assert caught.value.exit_code is ExitCode.DATA
    text = str(caught.value)
    assert "judged.csv:2: query 'q9' is not judged in this split" in text
    assert "judged.csv:3: query 'q3' is not judged in this split" in text
    assert "judged.csv:4: document 'd9' is not in" in text
    assert "judged.csv:5: 'grade' must be an integer grade, got 'yes'" in text
    assert "judged.csv:7: query 'q2' and document 'd1' are judged 0, and 1 in line 6" in text


def test_a_file_without_the_columns_is_refused(tmp_path: Path, folder: Path):
    with pytest.raises(HarnessError, match=r"no column 'grade' .*, got 'query_id', 'document_id'"):
        planned(tmp_path, folder, "query_id,document_id\nq1,d2\n")
