"""The store as a terminal shows it: kinds, sizes, ages, who needs them, and what may go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.output.pruning import KEPT

if TYPE_CHECKING:
    import pandas as pd

_DAY = 86_400


def render(place: str, found: pd.DataFrame) -> RenderableType:
    """Return a row for each kind and set of suites that need it, and the total.

    Args:
        place: of the store, as people name it.
        found: what `StoreView.show` gives.
    """
    table = Table(box=None, pad_edge=False)
    for name in ("kind", "artifacts", "size", "oldest", "needed by"):
        table.add_column(name, justify="left" if name in {"kind", "needed by"} else "right")
    for row in found.to_dict("records"):
        nobody = "always kept" if row["kind"] in KEPT else "no suite here"
        named = ", ".join(row["suites"]) or nobody
        size, age = _size(row["bytes"]), _age(row["oldest"])
        table.add_row(row["kind"], f"{row['artifacts']:,}", size, age, named)
    looked = ", ".join(found.attrs["suites"]) or "none"
    total = f"{int(found['artifacts'].sum()):,} artifacts, {_size(int(found['bytes'].sum()))}"
    return Group(table, Text(), Text(f"{place}: {total}. Suites here: {looked}."))


def as_json(found: pd.DataFrame) -> dict[str, Any]:
    """Return the same for machines."""
    return {"kinds": found.to_dict("records"), "bytes": int(found["bytes"].sum())}


def chosen_as_json(chosen: pd.DataFrame) -> dict[str, Any]:
    """Return what `StoreView.prune` gives, for machines."""
    return {"artifacts": chosen["artifact"].tolist(), "bytes": int(chosen["bytes"].sum())}


def pruned(place: str, chosen: pd.DataFrame, *, removed: bool) -> str:
    """Return a line for each artifact that may go, or has gone, and the total."""
    lines = [
        f"{row['artifact']}  {_size(row['bytes'])}, {_age(row['written'])} old"
        for row in chosen.to_dict("records")
    ]
    total = f"{len(chosen):,} artifacts, {_size(int(chosen['bytes'].sum()))}"
    if removed:
        said = f"store {place}: removed {total}."
    else:
        said = f"store {place}: no suite here needs {total}."
        said += " To remove them, add --yes." if len(chosen) else ""
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
