"""Models of a hub, from a local cache laid out as the hub's client lays it out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.models.weights import find_weights

HARNESS = Path(sys.executable).parent / "harness"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

SUITE = """
name = "hub"
metrics = ["ndcg@10"]
baseline = "static"
[collections.email]
source = "python:email"
split = "train"
[candidates.static]
model = "someone/static"
revision = "{revision}"
"""


def harness(*arguments: object, cache: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    command = [HARNESS, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=cwd
    )


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    pytest.importorskip("wordllama", reason="the 'quickstart' extra is not installed")
    source = find_weights("package:wordllama")
    repository = tmp_path / "cache" / "hub" / "models--someone--static"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name in source.files:
        shutil.copy(source.folder / name, snapshot / Path(name).name)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path / "cache"


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_a_cached_model_is_found_by_branch_and_by_commit(
    cache: Path, tmp_path: Path, revision: str
) -> None:
    suite = tmp_path / "hub.toml"
    suite.write_text(SUITE.format(revision=revision))
    planned = harness("plan", suite, "--json", cache=cache, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    stages = json.loads(planned.stdout)["stages"]
    assert all(stage["key"] for stage in stages)


def test_a_model_that_is_not_here_is_planned_with_a_warning_and_refused_offline(
    cache: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "hub.toml"
    suite.write_text(SUITE.format(revision="main").replace("someone/static", "someone/else"))
    planned = harness("plan", suite, cache=cache, cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "is not downloaded yet; a run fetches it" in " ".join(planned.stdout.split())
    refused = harness("run", suite, "--offline", cache=cache, cwd=tmp_path)
    assert refused.returncode == 2
    assert "nor in the hub's local cache" in refused.stderr
    assert f"{suite}:8: candidate 'static'" in refused.stderr
