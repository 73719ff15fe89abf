"""What CI systems get: the packaged action, its comment, OpenMetrics, and the recipes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import HARNESS
from gate_suites import GateSuite, gate_suite, lowered

from harness.cli.comment import COMMENT_BYTES
from harness.gates import baseline
from harness.gates.ci import openmetrics
from harness.gates.report import GateReport, GateResult, State, conclude

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
CI_PAGE = (ROOT / "docs" / "ci.md").read_text("utf-8")
SAME = [1] * 300
QUALITY = '[gates.quality]\nrule = "no_worse"\n'
MARKER = "<!-- harness:gate:small.toml -->"


@dataclass
class GitHub:
    """The part of GitHub's API that comments need, on this machine."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    status: int = 200
    url: str = ""

    def add(self, body: str, *, bot: bool = True) -> None:
        """Add a comment."""
        number = len(self.comments) + 1
        kind = "Bot" if bot else "User"
        self.comments.append(
            {"id": number, "body": body, "user": {"type": kind}, "html_url": f"http://c/{number}"}
        )


def handler_of(hub: GitHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            assert self.headers["Authorization"] == "Bearer secret"
            path, _, query = self.path.partition("?")
            hub.requests.append(f"{self.command} {path}")
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length) or "{}")
            found: Any = {"message": "Resource not accessible by integration"}
            if hub.status == 200 and self.command == "GET":
                page = int(re.search(r"\bpage=(\d+)", query)[1])  # type: ignore[index]
                found = hub.comments[100 * (page - 1) : 100 * page]
            elif hub.status == 200 and self.command == "POST":
                hub.add(sent["body"])
                found = hub.comments[-1]
            elif hub.status == 200:
                found = hub.comments[int(path.rpartition("/")[2]) - 1]
                found["body"] = sent["body"]
            data = json.dumps(found).encode()
            self.send_response(hub.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    return Handler


@pytest.fixture
def hub() -> Iterator[GitHub]:
    hub = GitHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def suite(tmp_path: Path) -> GateSuite:
    made = gate_suite(
        tmp_path / "work", QUALITY, ranks={"used": SAME, "other": lowered(300, lost=6)}
    )
    made.store_baseline()
    return made


def bash(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub's `shell: bash` does, where `harness` is the one under test."""
    path = f"{HARNESS.parent}{os.pathsep}{os.environ['PATH']}"
    usual = {key: value for key, value in os.environ.items() if not key.startswith("GITHUB_")}
    return subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**usual, "PATH": path, **environment},
    )


def act(suite: GateSuite, hub: GitHub, *, comment: str = "true") -> int:
    """Run the action's own steps on a pull request, and return how it ends."""
    runner = suite.folder / "runner"
    runner.mkdir(exist_ok=True)
    event, output = runner / "event.json", runner / "output"
    event.write_text('{"pull_request": {"number": 7}}')
    output.write_text("")
    values = {"inputs.suite": "small.toml", "inputs.baseline": "", "github.token": "secret"}
    for step in ACTION["runs"]["steps"]:
        if "run" not in step or step["name"] == "Install":
            continue
        if "if" in step:
            assert step["if"] == "inputs.comment == 'true' && github.event.pull_request"
            if comment != "true":
                continue
        told = dict(line.split("=") for line in output.read_text().splitlines())
        values |= {f"steps.gate.outputs.{key}": value for key, value in told.items()}
        given = {key: values[text.strip("${} ")] for key, text in step["env"].items()}
        done = bash(
            step["run"],
            suite.folder,
            **given,
            RUNNER_TEMP=str(runner),
            GITHUB_ACTIONS="true",
            GITHUB_API_URL=hub.url,
            GITHUB_EVENT_PATH=str(event),
            GITHUB_OUTPUT=str(output),
            GITHUB_REPOSITORY="owner/name",
            GITHUB_STEP_SUMMARY=str(runner / "summary.md"),
        )
        if done.returncode:
            assert step["name"] == "Answer", done.stderr
            return done.returncode
    return 0


def test_the_action_ends_with_the_gates_exit_code_and_keeps_one_comment(
    suite: GateSuite, hub: GitHub
):
    hub.add("looks good", bot=False)
    assert act(suite, hub) == 0
    assert hub.comments[1]["body"].startswith(f"{MARKER}\n<!-- harness:gate -->\n## Gates of")
    assert "PASS" in hub.comments[1]["body"]
    suite.later(lowered(300, lost=18))
    assert act(suite, hub) == 1
    assert len(hub.comments) == 2
    assert "FAIL" in hub.comments[1]["body"]
    assert hub.requests[-1] == "PATCH /repos/owner/name/issues/comments/2"
    assert "FAIL" in (suite.folder / "runner" / "summary.md").read_text()
    assert (suite.folder / "junit.xml").exists()


def test_without_a_baseline_or_where_none_is_wanted_there_is_no_comment(
    suite: GateSuite, hub: GitHub
):
    assert act(suite, hub, comment="false") == 0
    (suite.folder / "baselines" / "small.parquet").rename(suite.folder / "elsewhere.parquet")
    assert act(suite, hub) == 2
    assert [each for each in hub.comments if "PASS" in each["body"]] == []


def comment(hub: GitHub, folder: Path, markdown: str) -> subprocess.CompletedProcess[str]:
    (folder / "gate.md").write_text(markdown)
    (folder / "event.json").write_text('{"pull_request": {"number": 7}}')
    return subprocess.run(
        [sys.executable, "-m", "harness.cli.comment", "gate.md", "small.toml"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={
            **os.environ,
            "GITHUB_API_URL": hub.url,
            "GITHUB_EVENT_PATH": "event.json",
            "GITHUB_REPOSITORY": "owner/name",
            "GITHUB_TOKEN": "secret",
        },
    )


def test_a_comment_is_found_on_a_later_page_and_only_a_bots_is_taken(hub: GitHub, tmp_path: Path):
    hub.add(f"{MARKER}\nnot mine", bot=False)
    for _ in range(120):
        hub.add("chat", bot=False)
    hub.add(f"{MARKER}\nold")
    done = comment(hub, tmp_path, "ä" * 70_000)
    assert (done.returncode, done.stdout) == (0, "Comment: http://c/122\n")
    assert hub.comments[0]["body"].endswith("not mine")
    written = hub.comments[121]["body"]
    assert len(written.encode()) <= COMMENT_BYTES < 65_536
    assert written.endswith("gate.md is complete.)\n")


def test_a_comment_that_cannot_be_written_is_a_warning(hub: GitHub, tmp_path: Path):
    hub.status = 403
    done = comment(hub, tmp_path, "text")
    assert done.returncode == 0
    assert done.stdout.startswith("::warning title=No comment::")
    assert "secret" not in done.stdout + done.stderr


def test_the_action_is_what_github_expects():
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert "run" not in step or step["shell"] == "bash"
        assert "${{" not in step.get("run", "")  # what a user gives is no code
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text("utf-8")))
    assert used == set(ACTION["inputs"])
    table = set(re.findall(r"^\| `([\w-]+)` \|", CI_PAGE.partition("## GitLab")[0], re.MULTILINE))
    assert table == used
    extras = (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"\n{ACTION['inputs']['extras']['default']} = [" in extras


# ------------------------------------------------------------------------------- OpenMetrics


def finding(gate: str = "quality", *, place: str | None = None, **numbers: float) -> GateResult:
    return GateResult(
        gate=gate,
        rule="no_worse",
        level="error",
        on_inconclusive="warn",
        candidate="used",
        collection="notes",
        slice=place,
        asked="mrr@10",
        state=State.PASS,
        reason="",
        n=300,
        limit=0.01,
        **numbers,
    )


def test_openmetrics_has_a_family_for_each_number_and_escapes_labels():
    report: GateReport = conclude(
        [
            finding(value=0.5, difference=-0.01),
            finding("size", place='a "b"\\\nc'),
            finding("odd", value=float("nan")),
        ],
        suite="small",
        baseline="used",
    )
    lines = openmetrics(report).splitlines()
    assert lines[-1] == "# EOF"
    labels = 'suite="small",gate="quality",slice="",collection="notes",candidate="used"'
    assert f'harness_gate_value{{{labels},asked="mrr@10"}} 0.5' in lines
    assert f'harness_gate_difference{{{labels},asked="mrr@10"}} -0.01' in lines
    assert any(r'slice="a \"b\"\\\nc"' in line for line in lines)
    sample = re.compile(r'harness_gate_(value|difference|n)\{(\w+="([^"\\]|\\.)*",?)+\} -?[\d.e-]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert len([line for line in lines if line.startswith("harness_gate_n{")]) == 3


# -------------------------------------------------------------------------------- the recipes


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", CI_PAGE, re.DOTALL)


def test_the_gitlab_recipe_writes_the_reports_that_it_names(suite: GateSuite):
    recipe = next(
        job["embedding-gate"] for job in map(yaml.safe_load, blocks("yaml")) if "jobs" not in job
    )
    script = "\n".join(recipe["script"]).replace("suites/search.toml", "small.toml")
    suite.later(lowered(300, lost=18))
    assert bash(script, suite.folder).returncode == 1
    for file in recipe["artifacts"]["reports"].values():
        assert (suite.folder / file).stat().st_size > 100


def test_the_shell_recipe_stores_and_judges(suite: GateSuite):
    script = next(block for block in blocks("sh") if "test -e" in block)
    script = script.replace("suites/search", "small").replace("baselines/search", "baselines/small")
    (suite.folder / "baselines" / "small.parquet").unlink()
    assert bash(script, suite.folder).returncode == 0
    suite.later(lowered(300, lost=18))
    assert bash(script, suite.folder).returncode == 1
    assert "FAIL" in (suite.folder / "gate.md").read_text()


def test_the_workflow_of_the_page_gives_the_action_what_it_takes():
    workflow = next(each for each in map(yaml.safe_load, blocks("yaml")) if "jobs" in each)
    given = workflow["jobs"]["gate"]["steps"][-1]["with"]
    needed = {name for name, each in ACTION["inputs"].items() if each.get("required")}
    assert needed <= set(given) <= set(ACTION["inputs"])
    assert workflow["permissions"]["pull-requests"] == "write"


# ------------------------------------------------------------------------------- the age


@pytest.mark.parametrize(("today", "warns"), [("2026-04-01", 0), ("2026-04-02", 1)])
def test_a_baseline_older_than_90_days_is_warned_of(
    suite: GateSuite, monkeypatch: pytest.MonkeyPatch, today: str, warns: int
):
    import harness

    stored = baseline.read_baseline(
        suite.folder / "baselines" / "small.parquet", suite_file="small.toml"
    )
    about = stored.about.model_copy(update={"date": "2026-01-01"})
    path = suite.folder / "old.parquet"
    baseline.write_baseline(path, baseline.StoredBaseline(about, stored.scores))
    monkeypatch.chdir(suite.folder)
    monkeypatch.setattr(baseline, "today", lambda: today)
    opened = harness.load(suite.path, store=".harness", progress=False)
    report = opened.gate(path, markdown="gate.md")
    assert (report.state, report.exit_code) == (State.PASS, 0)
    text = "The stored baseline is 91 days old, more than 90 (stored 2026"
    assert (suite.folder / "gate.md").read_text().count(text) == warns
    assert "days old" not in (suite.folder / "results" / "small" / "gate.json").read_text()
