"""Sequential: how many queries a sequential gate asks, and its answers, against one look at all.

Reads the per-query scores of finished suites and takes their queries in random orders::

    python benchmarks/sequential.py results/NAME [results/OTHER …]
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from harness.arrays import Values
from harness.gates.report import State
from harness.gates.rules import Levels, answer, see
from harness.gates.sequential import looks, state_of
from harness.statistics.sequential import evidence
from harness.suite.gates import NoWorse

_ORDERS = 500
_MARGINS = (0.02, 0.05)


def asked(differences: Values, margin: float) -> tuple[State, int]:
    """Return what a sequential gate answers, and after how many queries."""
    for size in looks(len(differences)):
        some = differences[:size]
        state = state_of(evidence(some, margin), family=1)
        if state is not None:
            return state, size
    return State.INCONCLUSIVE, len(differences)


def main(folders: list[str]) -> None:
    """Print one row for each candidate, collection and margin."""
    print("| collection | candidate | n | difference | margin | one look | sequential | asked |")
    print("| --- | --- | ---: | ---: | ---: | --- | --- | ---: |")
    generator = np.random.default_rng(13)
    for folder in folders:
        table = pd.read_parquet(Path(folder) / "per_query.parquet")
        manifest = pd.read_json(Path(folder) / "results.json", typ="series")
        metric, baseline = manifest["metrics"][0], manifest["baseline"]
        table = table[table["metric"] == metric]
        for collection, rows in table.groupby("collection"):
            wide = rows.pivot_table(index="query_id", columns="candidate", values="value")
            for name in wide.columns.drop(baseline):
                differences = (wide[name] - wide[baseline]).to_numpy()
                for margin in _MARGINS:
                    gate = NoWorse(rule="no_worse", margin=margin)
                    once = answer(see(differences[:, None], gate, Levels()), gate).state(0)
                    found = [
                        asked(generator.permutation(differences), margin) for _ in range(_ORDERS)
                    ]
                    states = Counter(state for state, _ in found)
                    told = ", ".join(
                        f"{n / _ORDERS:.0%} {state}" for state, n in states.most_common()
                    )
                    share = np.mean([size for _, size in found]) / len(differences)
                    n, mean = len(differences), differences.mean()
                    print(
                        f"| {collection} | {name} | {n:,} | {mean:+.3f} | {margin:g} | {once} "
                        f"| {told} | {share:.0%} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main(sys.argv[1:])
