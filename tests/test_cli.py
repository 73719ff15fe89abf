"""The command line, started as people start it."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import HARNESS, harness

from harness import __version__

SUITE = """
name = "small"
metrics = ["ndcg@10"]
baseline = "lexical"

[collections.notes]
source = "beir:{folder}"

[candidates.lexical]
kind = "bm25"

[candidates.other]
run = "{folder}/other.trec"

[candidates.both]
fuse = ["lexical", "other"]
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "qrels").mkdir(parents=True)
    words = ["apple pie", "pear tart", "plum cake", "fig roll"]
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(words))
    )
    (folder / "queries.jsonl").write_text(
        "".join(
            json.dumps({"_id": f"q{i}", "text": text.split()[1]}) + "\n"
            for i, text in enumerate(words)
        )
    )
    rows = "".join(f"q{i}\td{i}\t1\n" for i in range(4))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    (folder / "other.trec").write_text("q0 Q0 d1 1 2.0 x\nq0 Q0 d0 2 1.0 x\nq1 Q0 d1 1 1.0 x\n")
    path = tmp_path / "small.toml"
    path.write_text(SUITE.format(folder=folder))
    return path


def test_a_run_writes_every_file_and_a_second_run_says_that_all_is_cached(
    suite: Path, tmp_path: Path
) -> None:
    first = subprocess.run(  # as installed, in a fresh interpreter
        [HARNESS, "run", suite, "--offline"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "COLUMNS": "120"},
    )
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "results" / "small"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "report.html",
        "summary.md",
        "results.json",
        "costs.json",
        "manifest.json",
        "per_query.parquet",
        "runs/notes/both.trec",
    } <= files
    assert "3 of 4 judged queries" not in first.stdout
    before = (folder / "results.json").read_bytes()
    suite.touch()  # otherwise a slow first run is remembered as a whole
    second = harness("run", suite, "--offline", cwd=tmp_path)
    assert "cached: nothing to encode" in second.stdout
    assert (folder / "results.json").read_bytes() == before


def test_a_partial_run_file_is_counted_and_shown(suite: Path, tmp_path: Path) -> None:
    shown = harness("run", suite, cwd=tmp_path).stdout
    assert "misses 2 of 4 judged queries" in " ".join(shown.split())


def test_json_goes_to_standard_output_alone(suite: Path, tmp_path: Path) -> None:
    run = harness("run", suite, "--json", cwd=tmp_path)
    assert json.loads(run.stdout)["suite"] == "small"
    plan = harness("plan", suite, "--json", cwd=tmp_path)
    assert all(stage["cached"] for stage in json.loads(plan.stdout)["stages"])


def test_a_suite_with_mistakes_exits_with_2_and_names_each_line(suite: Path) -> None:
    suite.write_text(suite.read_text().replace('kind = "bm25"', 'kindd = "bm25"') + "x = 1\n")
    failed = harness("plan", suite)
    assert failed.returncode == 2
    assert f"{suite}:10: " in failed.stderr
    assert "Did you mean 'kind'?" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_broken_data_exits_with_3_and_names_file_and_line(suite: Path) -> None:
    corpus = suite.parent / "notes" / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + '{"_id": "d9", "text": \n')
    failed = harness("run", suite, cwd=suite.parent)
    assert failed.returncode == 3
    assert "corpus.jsonl:5" in failed.stderr


def test_an_audit_with_errors_exits_with_3_and_one_without_with_0(suite: Path) -> None:
    assert harness("audit", suite, cwd=suite.parent).returncode == 0
    queries = suite.parent / "notes" / "queries.jsonl"
    queries.write_text(queries.read_text().replace('"pie"', '""'))
    failed = harness("audit", suite, cwd=suite.parent)
    assert failed.returncode == 3
    assert "error" in failed.stdout


def test_a_store_that_can_not_be_written_exits_with_4_before_any_work(
    suite: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    failed = harness("run", suite, "--store", blocked / "store", cwd=tmp_path)
    assert failed.returncode == 4
    assert "cannot write" in failed.stderr
    assert not (tmp_path / "results").exists()


def test_a_results_folder_below_a_file_is_refused_before_the_work(
    suite: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    failed = harness("run", suite, "--results", blocked / "results", cwd=tmp_path)
    assert failed.returncode == 2
    assert "below the file" in failed.stderr
    assert not (tmp_path / ".harness").exists()


def test_an_unknown_verb_or_device_exits_with_2(suite: Path) -> None:
    assert harness("rum", suite).returncode == 2
    assert harness("run", suite, "--device", "cuda:7").returncode == 2


def test_help_and_import_take_less_than_a_second_of_cpu() -> None:
    for arguments in ([HARNESS, "--help"], [sys.executable, "-c", "import harness"]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(arguments, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert used < 1.0


@pytest.mark.parametrize("verb", ["plan", "audit", "run"])
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    shown = harness(verb, "--help").stdout
    assert f"Example: harness {verb} suites/quickstart.toml" in shown
    assert f"Usage: harness {verb} [OPTIONS] SUITE" in shown
    assert "<" not in shown  # no type of Python's


def test_a_library_that_meets_the_end_of_a_file_is_not_taken_for_ctrl_d() -> None:
    code = (
        "import harness.suite.load\n"
        "def cut(path):\n"
        "    raise EOFError('No data left in file')\n"
        "harness.suite.load.load_suite = cut\n"
        "from harness.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "plan", "suite.toml"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 4
    assert "Stopped" not in ended.stderr
    assert "No data left in file" in ended.stderr


@pytest.mark.parametrize("module", ["harness", "harness.cli.verbs"])
def test_the_package_is_a_command_too(module: str) -> None:
    found = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout.strip()) == (0, __version__)


@pytest.mark.parametrize("columns", ["0", "1", "²", "-5", "x", "", "99999999999"])
def test_a_width_that_is_nonsense_is_as_none(suite: Path, tmp_path: Path, columns: str) -> None:
    usual = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    shown = [
        harness("plan", suite, cwd=tmp_path, env=environment).stdout
        for environment in (usual, {**usual, "COLUMNS": columns})
    ]
    assert "lexical" in shown[0]
    assert shown[1] == shown[0]


def test_a_run_that_is_compressed_is_found_by_its_plain_name(suite: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes" / "other.trec"
    path.with_name("other.trec.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    found = harness("plan", suite, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
