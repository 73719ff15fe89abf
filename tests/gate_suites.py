"""Small suites whose runs find each answer at a rank that the test chooses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from command_line import harness
from conftest import plan_of, write_beir

from harness.gates.baseline import make_baseline, write_baseline
from harness.plan.execute import execute
from harness.plan.plan import Plan
from harness.stage import Silent
from harness.store import Store

HEAD = """
name = "small"
metrics = ["mrr@10", "recall@10"]
baseline = "used"
"""


@dataclass(frozen=True)
class GateSuite:
    """A folder with a suite file, collections and runs; everything is beside each other."""

    folder: Path

    @property
    def path(self) -> Path:
        """The suite file."""
        return self.folder / "small.toml"

    def ranks(self, candidate: str, ranks: Sequence[int], *, collection: str = "notes") -> None:
        """Write a run that finds the answer of each query at a rank; 0 does not find it."""
        lines = []
        for query, rank in enumerate(ranks):
            found = [f"j{place}" for place in range(10)]
            if rank:
                found.insert(rank - 1, f"d{query:05}")
            lines += [
                f"q{query:05} Q0 {document} {place} {100 - place} x\n"
                for place, document in enumerate(found, start=1)
            ]
        (self.folder / f"{candidate}-{collection}.trec").write_text("".join(lines), "utf-8")

    def later(self, ranks: Sequence[int]) -> None:
        """Change the run in use and score it, so that the command line starts fast."""
        self.ranks("used", ranks)
        self.plan()

    def write(self, gates: str, *, candidates: Sequence[str], collections: Sequence[str]) -> None:
        """Write the suite file."""
        text = [HEAD]
        for name in collections:
            text += [f'collections."{name}".source = "beir:{self.folder / name}"\n']
        for name in candidates:
            run = f"{self.folder}/{name}-{{collection}}.trec"
            text += [f'candidates."{name}".run = "{run}"\n']
        self.path.write_text("".join(text) + gates, "utf-8")

    def plan(self) -> Plan:
        """Return the plan, run to its end."""
        plan = plan_of(self.path, Store(self.folder / ".harness"))
        execute(plan, progress=Silent())
        return plan

    def store_baseline(self) -> None:
        """Store the baseline where the command line looks for it."""
        (self.folder / "baselines").mkdir(exist_ok=True)
        write_baseline(self.folder / "baselines" / "small.parquet", make_baseline(self.plan()))

    def call(self, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in the folder, as people do."""
        usual = {k: v for k, v in os.environ.items() if not k.startswith("GITHUB_")}
        return harness(*arguments, cwd=self.folder, env={**usual, "COLUMNS": "100", **environment})


def gate_suite(
    folder: Path,
    gates: str,
    *,
    ranks: Mapping[str, Sequence[int]],
    collections: Sequence[str] = ("notes",),
) -> GateSuite:
    """Write a suite: the first candidate's run is the one in use.

    Args:
        folder: empty.
        gates: TOML of gates and slices.
        ranks: by candidate, the rank of the answer of each query.
        collections: each with the same queries and runs.
    """
    n = len(next(iter(ranks.values())))
    suite = GateSuite(folder)
    for name in collections:
        write_beir(
            folder / name,
            documents={
                **{f"d{row:05}": f"answer {row}" for row in range(n)},
                **{f"j{row}": f"junk {row}" for row in range(10)},
            },
            queries={f"q{row:05}": f"{'what' if row % 2 else 'how'} is {row}" for row in range(n)},
            qrels={"test": [(f"q{row:05}", f"d{row:05}", 1) for row in range(n)]},
        )
        for candidate, each in ranks.items():
            suite.ranks(candidate, each, collection=name)
    suite.write(gates, candidates=list(ranks), collections=collections)
    return suite


def lowered(n: int, *, lost: int, to: int = 2) -> list[int]:
    """Return ranks where the first `lost` answers fell from rank 1 to another."""
    return [to] * lost + [1] * (n - lost)
