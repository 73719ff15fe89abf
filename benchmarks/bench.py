"""`make bench`: all races against named peers, in one table and one JSON file.

    python benchmarks/bench.py [C1 C3 …]

runs those that are named, or all that this machine can show, in minutes on two cores. Each gives
the peer's seconds divided by ours, the median of some rounds in turn and their range; the results
of both must be equal. Exits with 1 only where they differ or a benchmark fails.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of processes that it starts
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ratio import DifferentError, Row, SkippedError
from rich import box
from rich.console import Console
from rich.table import Table

from harness.environment import device_name, today, versions

# A chapter and a function each; chapters are imported when they are wanted.
RACES = {
    "C1": "encoding.exact",
    "C2": "encoding.bfloat16",
    "C3": "search.one_width",
    "C4": "search.five_widths",
    "C5": "search.from_disk",
    "C6": "encoding.union",
    "C7": "scoring.metrics",
    "C8": "scoring.permutations",
    "C9": "scoring.resampling",
    "C10": "storing.warm",
    "C11": "storing.killed",
    "C12": "suites.whole",
    "C14": "suites.startup",
    "C15": "storing.changed",
}
ON_GPU = {
    "G1": "encoding.bge_base",
    "G2": "encoding.minilm",
    "G3": "encoding.mixed",
    "G4": "encoding.pairs_on_gpu",
    "G5": "search.on_gpu",
    "G6": "search.widths_on_gpu",
    "G7": "search.from_disk_on_gpu",
}
SAME = {"C13": "C12"}  # shown by the same run
RESULTS = Path(__file__).parent / "results"


@dataclass
class Found:
    """What the benchmarks gave.

    Attributes:
        rows: of the table, each with its id.
        notes: why a benchmark was skipped or failed.
        failed: whether results differ, or a benchmark failed.
    """

    rows: list[tuple[str, Row]]
    notes: list[str]
    failed: bool = False


def main(asked: list[str]) -> int:
    """Run the benchmarks that are asked for, print the table and store it."""
    known = {**RACES, **ON_GPU}
    wanted = [SAME.get(name, name) for name in asked] or [*known]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}. Known: {', '.join(known)}\n")
        return 2
    started, busy, gpu = time.perf_counter(), os.getloadavg()[0], _has_gpu()
    found = Found([], [])
    for name in dict.fromkeys(wanted):
        if gpu or name not in ON_GPU:
            _run(name, known[name], found)
    if not gpu:
        found.notes.append("G1 to G7 left out: torch sees no GPU")
    found.notes.append("G8 left out: there is no benchmark of several GPUs")
    machine = {
        "machine": device_name("cuda" if gpu else "cpu"),
        "cpu": device_name("cpu"),
        "date": today(),
        "load at the start and the end": [busy, os.getloadavg()[0]],
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "versions": _versions(),
    }
    table = _table(found.rows)
    Console(width=160).print(table)
    print("\n".join([*found.notes, *(f"{name}: {value}" for name, value in machine.items())]))
    path = _store(machine, found)
    table.box = box.MARKDOWN
    with path.with_suffix(".md").open("w", encoding="utf-8") as file:
        Console(file=file, width=10_000).print(table)
    print(f"Stored: {path}, and the table in Markdown beside it")
    return int(found.failed)


def _run(name: str, place: str, found: Found) -> None:
    module, function = place.split(".")
    print(f"{name} …", flush=True)
    try:
        rows: Callable[[], Iterator[Row]] = getattr(import_module(module), function)
        for row in rows():
            shown = "C13" if name == "C12" and "(C13)" in row.workload else name
            found.rows.append((shown, row))
            print(f"  {_ratio(row)} {row.workload} | {row.peer}", flush=True)
    except SkippedError as error:
        found.notes.append(f"{name} left out: {error}")
    except DifferentError as error:
        found.failed = True
        found.notes.append(f"{name} FAILED: {error}")
    except Exception:  # noqa: BLE001 the others still run
        found.failed = True
        found.notes.append(f"{name} FAILED: {traceback.format_exc(limit=-3)}")


def _table(rows: list[tuple[str, Row]]) -> Table:
    table = Table("id", "workload", "peer", "ratio", "range", "target", "met", "ours, s")
    for name, row in rows:
        spread = f"{min(row.ratios):.3g} to {max(row.ratios):.3g}" if len(row.ratios) > 1 else ""
        seconds = f"{statistics.median(row.seconds):.3g}" if row.seconds else ""
        met = {True: "yes", False: "no", None: ""}[row.met]
        table.add_row(name, row.workload, row.peer, _ratio(row), spread, _target(row), met, seconds)
    return table


def _ratio(row: Row) -> str:
    """Return the ratio, by CPU time too, and what else was measured."""
    parts = [] if row.ratio is None else [f"{row.ratio:.3g}"]
    if row.cpu_ratios:
        parts.append(f"(CPU {statistics.median(row.cpu_ratios):.3g})")
    return " ".join([*parts, *(f"{limit.value:.3g} {limit.unit}" for limit in row.limits)])


def _target(row: Row) -> str:
    parts = [] if row.target is None else [f"≥ {row.target:,g}"]
    signs = {True: "≥", False: "≤"}
    return "; ".join(
        [*parts, *(f"{signs[each.at_least]} {each.bound:,g} {each.unit}" for each in row.limits)]
    )


def _store(machine: dict[str, object], found: Found) -> Path:
    name = "-".join(str(machine["machine"]).replace(",", "").split()).lower()
    path = RESULTS / f"{name}-{machine['date']}.json"
    rows = [
        {"id": name, **asdict(row), "ratio": row.ratio, "met": row.met} for name, row in found.rows
    ]
    path.parent.mkdir(exist_ok=True)
    content = {**machine, "rows": rows, "notes": found.notes}
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    return path


def _versions() -> dict[str, str]:
    found = versions()
    for peer in ("mteb", "pytrec_eval-terrier"):
        with suppress(PackageNotFoundError):
            found[peer] = version(peer)
    return found


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
