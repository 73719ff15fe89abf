"""Gates as people and CI systems start them: exit codes, files, and the shipped examples."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from command_line import HARNESS
from gate_suites import GateSuite, gate_suite, lowered

EXAMPLES = Path(__file__).parents[1] / "examples"
SAME = [1] * 300
RANKS = {"used": SAME, "other": lowered(300, lost=6)}
QUALITY = '[gates.quality]\nrule = "no_worse"\n'
FILES = ("gate.json", "junit.xml", "gate.md")


@pytest.fixture
def suite(tmp_path: Path) -> GateSuite:
    """Return a suite with a stored baseline."""
    made = gate_suite(tmp_path / "work", QUALITY, ranks=RANKS)
    made.store_baseline()
    return made


def written(suite: GateSuite) -> dict[str, bytes]:
    folder = suite.folder / "results" / "small"
    return {name: (folder / name).read_bytes() for name in FILES}


def test_an_identical_pipeline_passes_with_0_twice_with_the_same_bytes(suite: GateSuite):
    first = suite.call("gate", suite.path)
    assert first.returncode == 0, first.stderr
    assert "300 queries detect a difference of 0.011 (MDE" in first.stdout
    assert "Gates of small: PASS (1 pass)" in first.stdout
    before = written(suite)
    assert suite.call("gate", suite.path).returncode == 0
    assert written(suite) == before
    assert (suite.folder / "results" / "small" / "manifest.json").exists()


def test_a_regression_of_3_points_is_blocked_with_1_and_every_file_is_written(suite: GateSuite):
    suite.later(lowered(300, lost=18))
    summary = suite.folder / "summary.md"
    failed = suite.call(
        *("gate", suite.path, "--junit-xml", "out/j.xml", "--markdown", "out/g.md"),
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "::error title=quality on notes%3A fail::It loses 0.03," in failed.stderr
    files = written(suite)
    assert json.loads(files["gate.json"])["exit_code"] == 1
    root = ET.fromstring(files["junit.xml"])  # noqa: S314 - our own file
    assert root.get("failures") == "1"
    assert (suite.folder / "out" / "j.xml").read_bytes() == files["junit.xml"]
    assert (suite.folder / "out" / "g.md").read_bytes() == files["gate.md"]
    assert summary.read_bytes() == files["gate.md"]


def test_half_a_point_is_inconclusive_which_warns_with_0_or_fails_with_5(suite: GateSuite):
    suite.later(lowered(300, lost=3))
    warned = suite.call("gate", suite.path, "--json", GITHUB_ACTIONS="true")
    assert warned.returncode == 0
    assert json.loads(warned.stdout)["state"] == "inconclusive"
    assert "::warning title=quality" in warned.stderr
    suite.path.write_text(suite.path.read_text() + 'on_inconclusive = "fail"\n')
    assert suite.call("gate", suite.path).returncode == 5


def test_other_documents_are_refused_with_3_before_anything_runs(suite: GateSuite):
    corpus = suite.folder / "notes" / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("junk 3", "rubbish 3"))
    refused = suite.call("gate", suite.path)
    assert refused.returncode == 3
    assert "different documents" in refused.stderr
    assert "stages" not in refused.stdout
    root = ET.fromstring(written(suite)["junit.xml"])  # noqa: S314 - our own file
    assert root.get("errors") == "1"


def test_without_a_stored_baseline_nothing_runs_and_2_is_returned(suite: GateSuite, tmp_path: Path):
    missing = suite.call("gate", suite.path, "--baseline", tmp_path / "none.parquet")
    assert missing.returncode == 2
    assert "harness baseline save" in missing.stderr
    assert "stages" not in missing.stdout


def test_too_small_a_margin_is_warned_of_when_planned_and_saved_and_passes_what_is_unchanged(
    suite: GateSuite,
):
    suite.path.write_text(suite.path.read_text() + "margin = 0.001\n")
    warning = (
        "Warning: gate 'quality' on 'notes': A changed pipeline of equal quality could not pass"
    )
    assert warning in " ".join(suite.call("plan", suite.path).stdout.split())
    accepted = suite.call("baseline", "accept", suite.path)
    assert warning in " ".join(accepted.stdout.split())
    same = suite.call("gate", suite.path)
    assert same.returncode == 0
    assert "No ranking changed" in same.stdout
    assert b"could not pass: a margin of 0.001 needs" in written(suite)["gate.md"]
    suite.later(lowered(300, lost=1))
    changed = suite.call("gate", suite.path, "--json")
    assert json.loads(changed.stdout)["state"] == "inconclusive"


def test_a_stage_that_fails_exits_with_4_and_is_an_error_in_the_files(suite: GateSuite):
    suite.later(lowered(300, lost=1))
    (suite.folder / "file").write_text("not a folder")
    failed = suite.call("gate", suite.path, "--store", "file/store")
    assert failed.returncode == 4
    assert json.loads(written(suite)["gate.json"])["state"] == "error"


def test_a_baseline_is_saved_once_accepted_after_a_change_and_shown(suite: GateSuite):
    (suite.folder / "baselines" / "small.parquet").unlink()
    assert suite.call("baseline", "save", suite.path).returncode == 0
    again = suite.call("baseline", "save", suite.path)
    assert again.returncode == 2
    assert "harness baseline accept" in again.stderr
    suite.later(lowered(300, lost=18))
    assert suite.call("baseline", "accept", suite.path).returncode == 0
    assert suite.call("gate", suite.path).returncode == 0
    shown = suite.call("baseline", "show", suite.path)
    assert "mrr@10 0.970" in shown.stdout
    assert "1 older" in shown.stdout
    about = json.loads(suite.call("baseline", "show", suite.path, "--json").stdout)
    assert about["candidate"]["name"] == "used"
    nothing = suite.call("baseline", "accept", suite.path, "--baseline", "none.parquet")
    assert nothing.returncode == 2


def test_a_replay_prints_rates_and_needs_no_stored_baseline(tmp_path: Path):
    fresh = gate_suite(tmp_path / "work", QUALITY, ranks=RANKS)
    fresh.plan()
    shown = fresh.call("gate", fresh.path, "--replay")
    assert shown.returncode == 0, shown.stderr
    assert "1000 replays each" in shown.stdout
    rows = json.loads(fresh.call("gate", fresh.path, "--replay", "--json").stdout)
    assert [row["planted"] for row in rows] == [0.0, -0.005, -0.01, -0.03]
    assert not (fresh.folder / "results").exists()


@pytest.mark.parametrize("verb", ["gate", "baseline save", "baseline accept", "baseline show"])
def test_every_verb_has_help_with_an_example(verb: str, tmp_path: Path):
    shown = GateSuite(tmp_path).call(*verb.split(), "--help").stdout
    assert f"Example: harness {verb} suites/quickstart.toml" in shown


# ------------------------------------------------------------------------------- the examples


def shell(suite: GateSuite, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command where `harness` is the one under test."""
    path = f"{HARNESS.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=suite.folder,
        env={**os.environ, "PATH": path, **environment},
    )


def test_the_shell_example_stores_passes_and_blocks(tmp_path: Path):
    suite = gate_suite(tmp_path / "work", QUALITY, ranks=RANKS)
    suite.plan()
    script = ("sh", str(EXAMPLES / "gate.sh"), "small.toml")
    first = shell(suite, *script)
    assert (first.returncode, "Stored baselines/small.parquet" in first.stdout) == (0, True)
    second = shell(suite, *script)
    assert (second.returncode, "Nothing blocks." in second.stdout) == (0, True)
    suite.later(lowered(300, lost=18))
    third = shell(suite, *script, "--offline")
    assert (third.returncode, "A gate failed: see gate.md" in third.stdout) == (1, True)
    assert (suite.folder / "junit.xml").exists()
    assert "FAIL" in (suite.folder / "gate.md").read_text()
    assert shell(suite, *script[:2]).returncode != 0


@pytest.mark.parametrize(("lost", "code"), [(0, 0), (18, 1)])
def test_the_steps_of_the_workflow_run_and_end_with_the_gates_exit_code(
    suite: GateSuite, lost: int, code: int
):
    """Every `run` as GitHub's bash runs it, but the installation, which the test stands on."""
    workflow = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text())
    job = workflow["jobs"]["gate"]
    asked = suite.folder / job["env"]["SUITE"]
    asked.parent.mkdir(parents=True)
    asked.write_text(suite.path.read_text())
    suite.later(lowered(300, lost=lost))
    commands = [step["run"] for step in job["steps"] if "run" in step]
    installing, *others = commands
    assert installing.startswith("pip install 'embedding-harness")
    done = [
        shell(
            suite,
            *("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command),
            GITHUB_ACTIONS="true",
            GITHUB_STEP_SUMMARY=str(suite.folder / "step.md"),
            **job["env"],
        )
        for command in others
    ]
    assert [each.returncode for each in done] == [code]
    kept = next(step for step in job["steps"] if "upload-artifact" in step.get("uses", ""))
    assert kept["if"] == "always()"
    assert all((suite.folder / path).exists() for path in kept["with"]["path"].split())
    assert (suite.folder / "step.md").read_text().startswith("<!-- harness:gate -->")


def test_the_workflow_is_what_github_expects():
    text = (EXAMPLES / "github-actions.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow[True].keys() == {"pull_request"}  # YAML 1.1 reads the key "on" as true
    assert workflow["permissions"] == {"contents": "read"}
    steps = workflow["jobs"]["gate"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)


def test_a_suite_of_the_same_name_neither_replaces_nor_reads_the_baseline(suite: GateSuite):
    """Accepted once, a baseline names its suite file; a renamed file is the same suite."""
    assert suite.call("baseline", "accept", suite.path).returncode == 0
    stored = (suite.folder / "baselines" / "small.parquet").read_bytes()
    other = suite.folder / "other" / "suite.toml"
    other.parent.mkdir()
    other.write_text(f"seed = 7\n{suite.path.read_text()}")
    baselines = [("baseline", verb, other) for verb in ("accept", "show")]
    for verb in (*baselines, ("gate", other, "--results", "elsewhere")):
        found = suite.call(*verb)
        assert found.returncode == 2
        assert "the baseline of another suite file with the name 'small'" in found.stderr
    assert (suite.folder / "baselines" / "small.parquet").read_bytes() == stored
    suite.path.rename(suite.path.with_name("renamed.toml"))
    assert suite.call("baseline", "accept", suite.path.with_name("renamed.toml")).returncode == 0
