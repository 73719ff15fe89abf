"""Score: the audit of a published or claimed mean as a terminal shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from reports import formats

if TYPE_CHECKING:
    from harness.gates.score import ScoreAudit, ScoreInterval


def render(audit: ScoreAudit) -> RenderableType:
    """Return the intervals, what decides, and the verdict."""
    said = "" if audit.metric is None else f"{audit.metric} "
    against = (
        f"target {audit.target:g}"
        if audit.target is not None
        else f"reference {audit.reference_value:g} on the same queries"
    )
    lines = [f"{said}{audit.value:g}, n={audit.n:,}, {against}"]
    for name, found in (("usual", audit.usual), ("widest", audit.widest)):
        if found is not None:
            decides = "; decides" if found is audit.deciding else ""
            lines.append(
                f"  {name:<7} {_interval(audit, found)}: {found.method}{_sd(found)}{decides}"
            )
    lines.append(
        f"  smallest p that any result of {audit.n:,} queries could have: "
        f"{formats.p_value(audit.smallest_p)}"
    )
    return Group(Text("\n".join(lines)), Text(audit.sentence, style="bold"))


def _interval(audit: ScoreAudit, found: ScoreInterval) -> str:
    if audit.reference_value is None:
        shown = formats.with_interval(audit.value, found.low, found.high)
    else:
        shown = formats.difference(audit.value - audit.reference_value, found.low, found.high)
    return f"{shown} {formats.p_equals(found.p)}"


def _sd(found: ScoreInterval) -> str:
    return "" if found.sd is None else f", {found.sd:g}"
