"""The audit as a terminal shows it, and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from harness.results.audit import Audit


def render(audit: Audit) -> RenderableType:
    """Return each collection with its problems, then the texts that models truncate."""
    lines: list[Text] = []
    for name, problems in audit.problems.items():
        size = audit.sizes.get(name)
        counts = f": {size[0]:,} documents, {size[1]:,} judged queries" if size else ""
        lines.append(Text(f"{name}{counts}", style="bold"))
        for problem in problems:
            style = "red" if problem.severity == "error" else "yellow"
            line = Text(f"  {problem.severity}: ", style=style)
            lines.append(line.append(problem.message, style="default"))
        if not problems:
            lines.append(Text("  no problems found"))
    lines += [
        Text(
            f"{cut.candidate} on {cut.collection}: {cut.documents:.1%} of the documents and "
            f"{cut.queries:.1%} of the queries are truncated at its {cut.limit:,} tokens."
        )
        for cut in audit.cuts
    ]
    lines += [Text(f"Warning: {warning}") for warning in audit.warnings]
    return Group(*lines)


def as_json(audit: Audit) -> dict[str, Any]:
    """Return the same for machines."""
    return {
        "problems": {
            name: [asdict(problem) for problem in problems]
            for name, problems in audit.problems.items()
        },
        "warnings": list(audit.warnings),
        "cuts": [cut.model_dump() for cut in audit.cuts],
    }
