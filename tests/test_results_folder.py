"""Results folders, as runs of real processes replace, keep and refuse them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import command_line
import pytest
from conftest import write_beir

from harness.errors import ExitCode, HarnessError
from harness.output.folder import refuse_other_results, replacing
from harness.suite.load import load_suite

SUITE = """
name = "small"
metrics = ["ndcg@10"]
baseline = "lexical"

[collections."med:train:"]
source = "beir:notes"

[candidates.lexical]
kind = "bm25"
"""
TABLES = {"results.json", "costs.json", "manifest.json", "report.html", "summary.md"} | {
    f"{name}.parquet" for name in ("per_query", "queries", "documents", "top", "judgements")
}


def start(*arguments: object, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [command_line.HARNESS, *map(str, arguments)], cwd=cwd, text=True, **{**usual, **options}
    )


def harness(*arguments: object, cwd: Path) -> tuple[int, str]:
    """Return the exit code and all that was printed."""
    done = command_line.harness(*arguments, cwd=cwd, env=os.environ)
    return done.returncode, done.stdout + done.stderr


def started(*arguments: object, cwd: Path, **options: Any) -> tuple[int, str]:
    """Return the same of a fresh interpreter, which sets its streams up."""
    process = start(*arguments, cwd=cwd, **options)
    said = process.communicate()
    return process.returncode, "".join(text or "" for text in said)


def write_project(folder: Path) -> Path:
    words = ["apple pie", "pear tart", "plum cake", "fig roll"]
    write_beir(
        folder / "notes",
        documents={f"d{row}": text for row, text in enumerate(words)},
        queries={f"q{row}": text.split()[1] for row, text in enumerate(words)},
        qrels={"test": [(f"q{row}", f"d{row}", 1) for row in range(4)]},
    )
    (folder / "small.toml").write_text(SUITE)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path)


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("project"))
    assert harness("run", "small.toml", cwd=folder)[0] == 0
    return folder


@pytest.fixture
def finished(run_once: Path, tmp_path: Path) -> Path:
    """Return a project of the test's own that was run once, as a moved checkout."""
    return shutil.copytree(run_once, tmp_path / "project")


@pytest.mark.parametrize("what", ["file", "mine", ".", "/", "foreign manifest"])
def test_what_is_not_ours_is_refused_before_any_work(project: Path, what: str):
    (project / "file").write_text("years")
    (project / "mine").mkdir()
    (project / "mine" / "thesis.txt").write_text("years")
    (project / "foreign manifest").mkdir()
    (project / "foreign manifest" / "manifest.json").write_text('{"name": "an extension"}')
    for verb in ("run", "decide", "diagnose", "gate"):
        code, said = harness(verb, "small.toml", "--results", what, cwd=project)
        assert code == 2
        assert f"results folder {what}: " in said
        assert "Traceback" not in said
    assert not (project / ".harness").exists()
    assert (project / "file").read_text() == "years"
    assert (project / "mine" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ("file/below", "lies below the file"),
        ("link", "is a file"),
        ("/dev/null", "is a file"),
        ("x" * 240, "cannot be used, got File name too long"),
        (".new", r"holds files that are not results \('\.\.new\.new-mine'\)"),
        ("found", r"holds files that are not results \('lost\+found'\)"),
    ],
)
def test_what_only_looks_like_ours_or_has_no_place_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch, results: str, why: str
):
    monkeypatch.chdir(project)
    Path("file").write_text("years")
    Path("link").symlink_to("file")
    for folder in (".new/..new.new-mine", "found/lost+found"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "thesis.txt").write_text("years")
    with pytest.raises(HarnessError, match=why) as caught:
        refuse_other_results(Path(results), load_suite(Path("small.toml")), store=Path(".harness"))
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_place_on_a_read_only_file_system_is_refused(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(project)
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != project)
    with pytest.raises(HarnessError, match=f"cannot be written: {project} is read-only"):
        refuse_other_results(Path("a/b"), load_suite(Path("small.toml")), store=Path(".harness"))


@pytest.mark.parametrize("results", ["st", "st/runs", "st/new"])
def test_results_never_take_the_place_of_a_store_that_the_run_itself_makes(
    project: Path, results: str
):
    options = ("--store", "st", "--results", results)
    code, said = harness("run", "small.toml", *options, cwd=project)
    assert code == 2
    assert f"results folder {results}: " in said
    assert "the store" in said
    assert not (project / "st").exists()


def test_a_link_to_a_folder_stays_and_its_target_is_written(project: Path):
    (project / "large").mkdir()
    (project / "results").mkdir()
    (project / "results" / "small").symlink_to(project / "large")
    for _ in range(2):
        assert harness("run", "small.toml", cwd=project)[0] == 0
        assert (project / "results" / "small").is_symlink()
        assert {path.name for path in (project / "large").iterdir()} >= TABLES


def test_a_mount_point_is_filled(project: Path):
    place = project / "results" / "small"
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a tmpfs")
    try:
        for _ in range(2):
            code, said = harness("run", "small.toml", cwd=project)
            assert code == 0, said
            names = {path.name for path in place.iterdir()}
            assert names >= TABLES
            assert not any(name.startswith(".") for name in names)
    finally:
        subprocess.run([shutil.which("umount") or "umount", str(place)], check=True)


def test_runs_at_the_same_time_leave_a_whole_folder_and_nothing_beside_it(finished: Path):
    for _ in range(2):
        with ThreadPoolExecutor(3) as threads:
            waiting = [threads.submit(harness, "run", "small.toml", cwd=finished) for _ in range(3)]
        said = [each.result() for each in waiting]
        assert [code for code, _ in said] == [0, 0, 0], said
        assert {path.name for path in (finished / "results" / "small").iterdir()} >= TABLES
    beside = {path.name for path in (finished / "results").iterdir()}
    assert beside == {"small", "small.history.jsonl"}


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.output import folder
from harness.output.folder import replacing

def replace(text, kill_at):
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        if event != "c_call":  # nothing else changes the disk
            return
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with replacing(Path("results")) as new:
        for name in ("manifest.json", "report.html"):
            (new / name).write_text(text)
        sys.setprofile(count)

if "two renames" in sys.argv:
    folder.exchange = lambda new, old: False
replace("0", 0)
for moment in range(1, 10_000):
    process = os.fork()
    if not process:
        replace(str(moment), moment)
        os._exit(0)
    status = os.waitpid(process, 0)[1]
    held = {path.read_text() for path in Path("results").glob("*")}
    print(moment, *held, *sorted(path.name for path in Path("results").glob("*")))
    if not os.WIFSIGNALED(status):
        break
"""


def assert_mended(project: Path) -> None:
    """Check that the next run removes all that was left, a minute later."""
    for path in project.iterdir():
        os.utime(path, (0, 0))
    with replacing(project / "results"):
        pass
    assert [path.name for path in project.iterdir()] == ["results"]


@pytest.mark.skipif(sys.platform != "linux", reason="folders are exchanged in one step on Linux")
def test_a_kill_at_any_call_of_the_swap_leaves_one_whole_folder(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    moments = [line.split() for line in done.stdout.splitlines()]
    assert len(moments) > 20
    old = "0"
    for moment, held, *names in moments:
        assert names == ["manifest.json", "report.html"]
        assert held in {old, moment}
        old = held
    assert old == moments[-1][0]
    assert_mended(tmp_path)


def test_a_kill_between_two_renames_is_mended_by_the_next_run(tmp_path: Path):
    command = [sys.executable, "-c", KILLED, "two renames"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    moments = [line.split() for line in done.stdout.splitlines()]
    absent = [int(moment) for moment, *held in moments if not held]
    assert absent
    assert int(moments[-1][0]) > max(absent)
    assert_mended(tmp_path)


def test_a_run_that_changes_nothing_keeps_the_decision_and_one_that_does_marks_it_as_stale(
    finished: Path,
):
    results = finished / "results" / "small"
    for verb in ("decide", "run", "decide", "judge"):  # the last one asks for grades; none is there
        assert harness(verb, "small.toml", cwd=finished)[0] == 0
    names = ("decision.json", "decision.md", "summary.md")
    before = [(results / name).read_bytes() for name in names]
    code, said = harness("run", "small.toml", cwd=finished)
    assert (code, "stale" in said) == (0, False)
    assert [(results / name).read_bytes() for name in names] == before
    (results / "slices").mkdir()
    for name in ("read", "unread"):
        (results / "slices" / f"med.lexical.{name}.txt").write_text("q0\n")
    (results / "to-judge.med.csv").write_text("a spreadsheet holds this open")
    file = "results/small/slices/med.lexical.read.txt"
    a_slice = f'[slices.a]\ncollection = "med:train:"\nfile = "{file}"\n'
    (finished / "small.toml").write_text(f"{SUITE}k1 = 1.2\n{a_slice}")
    code, said = harness("run", "small.toml", cwd=finished)
    assert code == 0
    assert (finished / file).read_text() == "q0\n"
    assert (results / "to-judge.med.csv").is_file()
    assert "stale: decision.json, decision.md. They belong to other runs and settings. " in said
    assert "stale: slices/med.lexical.unread.txt. They belong to other " in said
    assert "harness decide small.toml" in said
    assert not (results / "decision.json").exists()
    assert [(results / "stale" / name).read_bytes() for name in names[:2]] == before[:2]
    assert harness("decide", "small.toml", cwd=finished)[0] == 0
    left = {path.name for path in (results / "stale").rglob("*.*")}
    assert left == {"judging.json", "med.lexical.unread.txt"}  # of verbs that did not write again


@pytest.mark.parametrize("verb", ["run", "decide", "diagnose"])
def test_latency_that_is_measured_again_reaches_costs_and_decision(finished: Path, verb: str):
    results = finished / "results" / "small"
    assert harness("decide", "small.toml", cwd=finished)[0] == 0
    costs = json.loads((results / "costs.json").read_text())
    for cost in costs["costs"]:
        cost["query_ms_p95"] = 98765.0
    (results / "costs.json").write_text(json.dumps(costs, indent=1))
    decision = (results / "decision.json").read_text()
    (results / "decision.json").write_text(decision.replace("Undecided", "Decided before"))
    assert harness(verb, "small.toml", cwd=finished)[0] == 0
    for name in ("costs.json", "decision.json", "report.html", "summary.md"):
        said = (results / name).read_text()
        assert not any(old in said for old in ("98765", "98,765", "Decided before"))


def test_another_suite_of_the_same_name_is_refused_and_a_moved_checkout_is_not(finished: Path):
    (finished / "other.toml").write_text(SUITE + "k1 = 1.2\n")
    for verb in (("run",), ("report",), ("report", "--results", "results/small"), ("export",)):
        more = ("--to", "markdown") if verb == ("export",) else ()
        names = ("other.toml", "out.md") if verb == ("export",) else ("other.toml",)
        code, said = harness(*verb, *names, *more, cwd=finished)
        assert code == 2
        assert "another suite file with the name 'small'" in said
    moved = finished.with_name("moved")
    shutil.copytree(finished, moved)
    assert harness("run", "small.toml", cwd=moved)[0] == 0
    (moved / "small.toml").rename(moved / "renamed.toml")
    assert harness("run", "renamed.toml", cwd=moved)[0] == 0


def test_paths_are_relative_to_the_suite_and_both_places_are_named(project: Path):
    above = project.parent
    suite = f"{project.name}/small.toml"
    assert harness("plan", suite, cwd=above)[0] == 0
    (project / "notes").rename(above / "notes")
    code, said = harness("plan", suite, cwd=above)
    assert code == 2
    assert str(project / "notes") in said
    assert "write '../notes'" in said


def test_a_reader_that_leaves_a_full_device_and_ascii_end_no_run_in_a_traceback(project: Path):
    reads, writes = os.pipe()
    os.close(reads)
    code, said = started("run", "small.toml", cwd=project, stdout=writes)
    os.close(writes)
    assert (code, said) == (0, "")
    assert {path.name for path in (project / "results" / "small").iterdir()} >= TABLES
    with Path("/dev/full").open("w") as full:
        code, said = started("run", "small.toml", cwd=project, stdout=full)
    assert code == 4
    assert said.startswith("standard output: cannot be written, got No space left on device.")
    assert "Traceback" not in said
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    code, said = started("run", "small.toml", cwd=project, env=ascii_only)
    assert code == 0
    assert "med:train:" in said
    assert "Traceback" not in said


def test_an_app_or_report_of_nothing_exits_with_2(project: Path):
    for verb, place in (("app", "nope"), ("report", "results/nope")):
        code, said = harness(verb, place, cwd=project)
        assert code == 2
        assert f"{place}: n" in said
        assert "results folder" in said


def test_sigterm_ends_a_run_cleanly(project: Path):
    words = {f"d{row}": f"apple pie {row}" for row in range(30_000)}
    shutil.rmtree(project / "notes")
    write_beir(
        project / "notes", documents=words, queries={"q": "pie"}, qrels={"test": [("q", "d1", 1)]}
    )
    process = start("run", "small.toml", cwd=project)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 143, said
    assert "Stopped." in said
    assert list((project / ".harness" / "staging").glob("*")) == []


def test_a_signal_decides_the_exit_code_whatever_a_library_makes_of_it():
    code = """
import signal
from harness.cli import verbs

def app(**_):
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt as error:
        raise SystemError("a result with an exception set") from error

verbs.app = app
verbs.main()
"""
    asked = [sys.executable, "-c", code]
    ended = subprocess.run(asked, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (143, "")
    assert ended.stderr.startswith("Stopped. ")


def test_answers_that_a_reader_has_filled_in_are_kept(finished: Path):
    folder = finished / "results" / "small"
    header = "query_id,document_id,grade,query,document,why\n"
    (folder / "unjudged.notes.csv").write_text(f"{header}q0,d1,1,pie,pear tart,near\n")
    (folder / "unjudged.blank.csv").write_text(f"{header}q0,d1,,pie,pear tart,near\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] += ["unjudged.blank.csv", "unjudged.notes.csv"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (finished / "small.toml").write_text(SUITE + "k1 = 1.2\n")
    code, said = harness("run", "small.toml", cwd=finished)
    assert code == 0
    assert "q0,d1,1" in (folder / "unjudged.notes.csv").read_text()
    assert "stale: unjudged.blank.csv" in said
    assert json.loads((folder / "manifest.json").read_text())["file"] == "../../small.toml"


@pytest.mark.parametrize(
    ("key", "value"),
    [("files", [None, "results.json"]), ("files", 5), ("verdicts", [5]), ("file", "x" * 5_000)],
)
def test_a_damaged_manifest_costs_nothing_of_a_reader(finished: Path, key: str, value: object):
    folder = finished / "results" / "small"
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, key: value}))
    (folder / "mine.txt").write_text("years")
    for verb in ("decide", "run"):
        code, said = harness(verb, "small.toml", cwd=finished)
        assert code == 0, said
    assert (folder / "mine.txt").read_text() == "years"
    assert (folder / "decision.json").exists()
