"""A run killed at random moments ends, when it is run again, as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(sys.executable).parent / "harness"
KILLS = 20

SUITE = """
name = "killed"
metrics = ["ndcg@10", "recall@100"]
baseline = "static"

[collections.email]
source = "python:email"
split = "train"

[collections.stdlib]
source = "python:stdlib"

[candidates.bm25]
kind = "bm25"

[candidates.static]
model = "package:wordllama"

[candidates."static/64"]
from = "static"
truncate = 64

[candidates.tuned]
from = "static"
finetune = { data = "stdlib:train", matryoshka = [256, 64], batch_size = 256, leaks = "drop" }

[candidates.cascade]
from = "static/64"
rerank = { candidate = "tuned", depth = 20 }

[candidates.hybrid]
fuse = ["bm25", "tuned"]
"""


def command(folder: Path, suite: Path) -> list[str]:
    places = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    return [str(HARNESS), "run", str(suite), "--offline", *places]


def outcome(folder: Path) -> dict[str, bytes]:
    """Return every file that must not depend on what happened on the way."""
    results = folder / "results"
    paths = [results / "results.json", results / "per_query.parquet"]
    paths += sorted((results / "runs").rglob("*.trec"))
    return {str(path.relative_to(results)): path.read_bytes() for path in paths}


@pytest.mark.slow
def test_twenty_kills_leave_the_results_of_an_undisturbed_run(tmp_path: Path) -> None:
    pytest.importorskip("wordllama", reason="the 'quickstart' extra is not installed")
    suite = tmp_path / "killed.toml"
    suite.write_text(SUITE)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    subprocess.run(command(undisturbed, suite), check=True, capture_output=True)
    moments = random.Random(5)
    interrupted = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(killed, suite), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=moments.uniform(2.0, 20.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            interrupted += 1
    assert interrupted > 3
    subprocess.run(command(killed, suite), check=True, capture_output=True)
    assert outcome(killed) == outcome(undisturbed)
