"""Training view: what a training has to do, and what came of it, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from harness.plan.plan import Plan
from harness.stage import Stage, Work
from harness.training.finetune import Train
from harness.training.reranker import TrainReranker
from reports import formats


def in_a_sentence(name: str, left: Sequence[tuple[Stage, Work]]) -> str:
    """Return what is left of a training, and roughly how long it takes."""
    if not left:
        return f"'{name}' is trained already."
    known = [work.seconds for _, work in left if work.seconds is not None]
    about = f", roughly {formats.seconds(sum(known))}" if known else ""
    return f"{len(left)} stages are left to train '{name}'{about}."


def trained(plan: Plan, stages: Iterable[Stage]) -> Table:
    """Return a row for each training: rows, loss, what dev data said, and the time."""
    table = Table(box=None, pad_edge=False)
    for column in ("training", "seed", "rows", "loss", "dev", "time"):
        table.add_column(column, justify="left" if column == "training" else "right")
    for stage in stages:
        if isinstance(stage, Train | TrainReranker):
            meta = stage.stored(plan.store).meta
            table.add_row(
                Text(stage.label),
                str(stage.seed),
                f"{meta['rows']:,}",
                f"{meta['loss']:.4f}",
                _dev(meta.get("dev")),
                formats.seconds(meta["seconds"]),
            )
    return table


def _dev(found: dict[str, float] | None) -> str:
    if found is None:
        return formats.UNKNOWN
    return f"{found['measure']} {found['before']:.3f} → {found['best']:.3f} (n={found['n']:,})"
