"""The store as a terminal shows it: kinds, sizes, ages, who needs them, and what may go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.output.pruning import KEPT, Held
from harness.store import Entry

_DAY = 86_400


def render(root: Path, found: Sequence[Held], suites: Sequence[str]) -> RenderableType:
    """Return a row for each kind and set of suites that need it, and the total."""
    table = Table(box=None, pad_edge=False)
    for name in ("kind", "artifacts", "size", "oldest", "needed by"):
        table.add_column(name, justify="left" if name in {"kind", "needed by"} else "right")
    for row in _rows(found):
        nobody = "always kept" if row["kind"] in KEPT else "no suite here"
        named = ", ".join(row["suites"]) or nobody
        size, age = _size(row["bytes"]), _age(row["oldest"])
        table.add_row(row["kind"], f"{row['artifacts']:,}", size, age, named)
    total = sum(each.entry.size for each in found)
    looked = ", ".join(suites) or "none"
    said = f"{root}: {len(found):,} artifacts, {_size(total)}. Suites here: {looked}."
    return Group(table, Text(), Text(said))


def as_json(found: Sequence[Held]) -> dict[str, Any]:
    """Return the same for machines."""
    return {"kinds": _rows(found), "bytes": sum(each.entry.size for each in found)}


def _rows(found: Sequence[Held]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, tuple[str, ...]], dict[str, Any]] = {}
    for entry, suites in found:
        kind = entry.kind.partition("/")[0]
        empty = {"kind": kind, "artifacts": 0, "bytes": 0, "oldest": entry.written}
        row = rows.setdefault((kind, suites), {**empty, "suites": list(suites)})
        row["artifacts"] += 1
        row["bytes"] += entry.size
        row["oldest"] = min(row["oldest"], entry.written)
    return [rows[place] for place in sorted(rows)]


def chosen_as_json(chosen: Sequence[Entry]) -> dict[str, Any]:
    """Return what may go, or has gone, for machines."""
    names = [f"{entry.kind}/{entry.key}" for entry in chosen]
    return {"artifacts": names, "bytes": sum(entry.size for entry in chosen)}


def pruned(root: Path, chosen: Sequence[Entry], *, removed: bool) -> str:
    """Return a line for each artifact that may go, or has gone, and the total."""
    lines = [
        f"{entry.kind}/{entry.key}  {_size(entry.size)}, {_age(entry.written)} old"
        for entry in chosen
    ]
    total = f"{len(chosen):,} artifacts, {_size(sum(entry.size for entry in chosen))}"
    if removed:
        said = f"store {root}: removed {total}."
    else:
        said = f"store {root}: no suite here needs {total}. Nothing is removed"
        said += " yet: add --yes." if chosen else "."
    return "\n".join([*lines, said])


def _age(written: float) -> str:
    days = (time.time() - written) / _DAY
    return f"{days:.0f} d" if days >= 1 else f"{days * 24:.0f} h"


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
