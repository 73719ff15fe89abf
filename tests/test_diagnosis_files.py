from __future__ import annotations

import csv
import io

import pyarrow.parquet as pq
from diagnoses import DOCUMENTS, QUERIES, diagnosis, health, rows

from harness.diagnosis.files import rows_as_parquet, slices, unjudged_as_csv

NAMES = {"minilm": "minilm", "small": "small"}


def test_every_query_has_its_row():
    table = pq.read_table(io.BytesIO(rows_as_parquet([rows(), rows()])))
    assert table.num_rows == 12
    assert table.slice(0, 1).to_pylist() == [
        {
            "candidate": "minilm",
            "collection": "small",
            "query_id": "q1",
            "stage": "rerankable",
            "rank": 40,
            "loss": 1.0,
            "miss": True,
            "reasons": ["truncation"],
            "x": 0.0,
            "y": 1.0,
            "cluster": "c1",
        }
    ]
    assert table.column("rank").to_pylist()[2] is None


def test_nothing_diagnosed_is_a_table_without_rows():
    assert pq.read_table(io.BytesIO(rows_as_parquet([]))).column_names[-1] == "cluster"


def test_clusters_and_findings_are_lists_of_query_ids():
    assert slices(diagnosis(), NAMES) == {
        "small.minilm.c1.txt": "q1\nq2\n",
        "small.minilm.truncation.txt": "q1\nq2\n",
    }


def test_the_queue_is_a_table_with_an_empty_grade():
    [row] = csv.DictReader(io.StringIO(unjudged_as_csv(health(), QUERIES, DOCUMENTS)))
    assert row == {
        "query_id": "q1",
        "document_id": "d2",
        "grade": "",
        "query": QUERIES["q1"],
        "document": DOCUMENTS["d2"],
        "why": "Both return it first.",
    }
