"""A call that was answered before is answered at once, and only while nothing has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import write_beir

import harness
from harness.output import receipts
from harness.output.receipts import Receipt

WORDS = ("apple pie", "pear tart", "plum cake", "fig roll")
SUITE = """
name = "small"
metrics = ["ndcg@10"]
baseline = "lexical"
collections.notes.source = "beir:notes"
candidates.lexical.kind = "bm25"
candidates.other = { kind = "bm25", k1 = 0.9 }
"""
NOTHING_HEAVY = """
import sys
sys.argv = ["harness", "run", "small.toml"]
from harness.cli import main
try:
    main()
finally:
    heavy = ["torch", "transformers", "scipy", "pandas", "pyarrow", "plotly", "harness.plan.plan"]
    print(sorted({*heavy} & {*sys.modules}))
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a suite; files of a moment ago are trusted."""
    monkeypatch.setattr(receipts, "_RESOLUTION_NS", -(10**18))
    monkeypatch.chdir(tmp_path)
    write_beir(
        tmp_path / "notes",
        documents={f"d{row}": text for row, text in enumerate(WORDS)},
        queries={f"q{row}": text.split()[1] for row, text in enumerate(WORDS)},
        qrels={"test": [(f"q{row}", f"d{row}", 1) for row in range(4)]},
    )
    (tmp_path / "small.toml").write_text(SUITE)
    return tmp_path


def suite() -> harness.Suite:
    return harness.load("small.toml", progress=False)


def known() -> set[str]:
    """Return the verbs that would be answered at once."""
    return set(
        Receipt(
            Path("small.toml"),
            store=Path(".harness"),
            results=Path("results/small"),
            device="auto",
            offline=False,
            limit=None,
        ).verbs
    )


def states(folder: str) -> dict[str, tuple[bytes, int]]:
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_what_has_not_changed_is_neither_read_nor_written_again(monkeypatch: pytest.MonkeyPatch):
    first = suite().run()
    before = {folder: states(folder) for folder in ("results", ".harness")}
    monkeypatch.setattr("harness.plan.plan.make_plan", None)
    second = suite().run()
    assert second.values == first.values
    assert second.took.startswith("Took ")
    assert {folder: states(folder) for folder in ("results", ".harness")} == before


def test_the_answer_is_printed_as_before_and_nothing_heavy_is_loaded(
    capsys: pytest.CaptureFixture[str],
):
    harness.load("small.toml").run()
    assert "Comparing the candidates" in capsys.readouterr().out
    done = subprocess.run(
        [sys.executable, "-c", NOTHING_HEAVY], capture_output=True, text=True, check=True
    )
    said = done.stdout.splitlines()
    assert said[0] == "Nothing has changed since the last run: read from results/small."
    assert "Report: results/small/report.html" in said
    assert said[-1] == "[]"


def test_code_that_is_compiled_later_changes_nothing():
    from harness.retrieval import kernels

    compiled = Path(kernels.__file__).parent / "__pycache__" / "test_receipts.nbi"
    compiled.parent.mkdir(exist_ok=True)
    try:
        compiled.write_bytes(b"an index of what numba has compiled")
        suite().run()
        compiled.write_bytes(b"the same with one signature more")
        assert known() == {"run"}
    finally:
        compiled.unlink()


def test_each_verb_is_known_by_its_own_answer_and_keeps_those_of_others():
    suite().run()
    assert known() == {"run"}
    decided = suite().decide()
    assert known() == {"run", "decide"}
    before = states("results")
    assert suite().decide() == decided
    assert suite().run().decision == decided
    assert states("results") == before


def rewrite(path: str) -> None:
    """Put one character in the place of another, of which size and time tell nothing."""
    file = Path(path)
    status = file.stat()
    file.write_text(file.read_text("utf-8").replace("a", "o", 1), "utf-8")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def artifact(kind: str) -> Path:
    return next(Path(".harness", kind).iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda: rewrite("small.toml"),
        lambda: rewrite("notes/corpus.jsonl"),
        lambda: Path("notes/qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\n"),
        lambda: rewrite("results/small/results.json"),
        lambda: Path("results/small/report.html").unlink(),
        lambda: Path("results/small/mine.txt").write_text("of a reader"),
        lambda: artifact("scorecards").rename("elsewhere"),
        lambda: rewrite(str(artifact("runs") / "meta.json")),
        lambda: os.environ.update(HF_HOME="elsewhere"),
    ],
    ids=[
        *("the suite", "a text", "a new file of the source", "a result", "a lost report"),
        *("a file of a reader", "a lost artifact", "a damaged artifact", "the environment"),
    ],
)
def test_any_change_is_noticed(change: Callable[[], object], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HOME", "here")
    suite().run()
    assert known() == {"run"}
    change()
    assert known() == set()


def test_files_of_a_moment_ago_are_not_trusted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(receipts, "_RESOLUTION_NS", 3_600_000_000_000)
    suite().run()
    assert known() == set()


def test_timing_again_is_never_answered_from_the_last_run(monkeypatch: pytest.MonkeyPatch):
    suite().run()
    monkeypatch.setattr("harness.plan.plan.make_plan", None)
    with pytest.raises(TypeError):
        suite().run(time_again=True)


def test_a_timing_of_a_busy_machine_is_taken_again_once_it_is_quiet(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(receipts, "_timed_again", lambda _: 0.0)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    suite().run()
    monkeypatch.setattr("harness.retrieval.latency.is_quiet", lambda: False)
    assert known() == {"run"}
    monkeypatch.setattr("harness.retrieval.latency.is_quiet", lambda: True)
    assert known() == set()
