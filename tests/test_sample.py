"""A sample of a suite: what it holds, that it says so, and that it leaves the whole alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import harness
from conftest import sentences, write_beir, write_suite

from harness.collection.load import load_raw
from harness.collection.sample import DOCUMENTS_PER_QUERY, sample

DOCUMENTS = {f"d{row}": text for row, text in enumerate(sentences(900, seed=3))}
QUERIES = {f"q{row}": text for row, text in enumerate(sentences(60, seed=4))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    judged = {
        "test": [(f"q{row}", f"d{row}", 1) for row in range(40)],
        "train": [(f"q{row}", f"d{row + 50}", 1) for row in range(40, 60)],
    }
    judged["test"] += [("q0", "d800", 0)]
    return write_beir(tmp_path / "beir", documents=DOCUMENTS, queries=QUERIES, qrels=judged)


def test_a_sample_holds_all_that_is_judged_for_its_queries(folder: Path):
    whole = load_raw(f"beir:{folder}")
    part = sample(whole, 10)
    test = part.split("test")
    assert len(test.relevant) == 10
    assert len(part.split("train").relevant) == 10
    assert len(part.documents.ids) == 10 * DOCUMENTS_PER_QUERY
    for query, relevant in test.relevant.items():
        assert relevant == whole.split("test").relevant[query]
        assert set(relevant) <= set(part.documents.ids)
    rows = [whole.documents.rows[key] for key in part.documents.ids]
    assert rows == sorted(rows)
    assert list(part.documents.texts) == [whole.documents.texts[row] for row in rows]
    assert np.array_equal(part.documents.lines, whole.documents.lines[rows])


def test_a_larger_sample_holds_a_smaller_one_and_a_large_one_is_the_whole(folder: Path):
    whole = load_raw(f"beir:{folder}")
    small, large = sample(whole, 5), sample(whole, 15)
    assert set(small.split("test").relevant) < set(large.split("test").relevant)
    assert set(small.documents.ids) < set(large.documents.ids)
    every = sample(whole, 60)
    assert every.documents.ids == whole.documents.ids
    assert every.split("test").relevant == whole.split("test").relevant


@pytest.mark.usefixtures("folder")
def test_a_run_of_a_sample_says_so_and_leaves_the_whole_alone(tmp_path: Path):
    suite = write_suite(
        tmp_path / "suite.toml",
        'baseline = "words"\ncollections.small.source = "beir:beir"\n'
        '[candidates]\nwords = { kind = "bm25" }\n'
        '[slices.some]\ncollection = "small"\nqueries = ["q0", "q1"]\n'
        '[gates.fine]\nrule = "at_least"\nvalue = 0.1\nslice = "some"\ncollection = "small"\n',
    )
    assert harness("run", suite, cwd=tmp_path).returncode == 0
    before = (tmp_path / "results" / "small" / "results.json").read_bytes()
    told = "a sample: 10 of 40 queries, 200 of 900 documents"
    for verb in ("audit", "plan", "run", "decide", "diagnose"):
        done = harness(verb, suite, "--limit", "10", cwd=tmp_path)
        assert done.returncode == 0, (verb, done.stderr)
        said = " ".join(done.stdout.split())
        assert "small.limit-10" in said if verb in {"plan", "run"} else True
        assert told in said or verb in {"plan", "diagnose"}, (verb, said)
        if verb == "decide":
            assert "(recommended)" not in said
            assert "Decided on a sample. Run the full suite" in said
    assert (tmp_path / "results" / "small" / "results.json").read_bytes() == before
    report = (tmp_path / "results" / "small.limit-10" / "report.html").read_text("utf-8")
    assert told in report
    assert "Nothing has changed" not in harness("run", suite, "--limit", "12", cwd=tmp_path).stdout
