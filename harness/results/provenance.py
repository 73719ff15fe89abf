"""Provenance: which candidates learned from queries that a model wrote, and from how many."""

from __future__ import annotations

from collections.abc import Iterator

from harness.plan.plan import Plan
from harness.training.data import Origin


def synthetic_origins(plan: Plan, name: str) -> tuple[Origin, ...]:
    """Return the synthetic data that a candidate itself is trained on."""
    examples = plan.planner.builder(name).examples()
    return tuple(each for each in examples.origins if each.synthetic) if examples else ()


def is_synthetic(plan: Plan, name: str) -> bool:
    """Tell whether a candidate, or any that it is made of, is trained on synthetic queries."""
    spec = plan.suite.candidates[name]
    return bool(synthetic_origins(plan, name)) or any(
        is_synthetic(plan, other) for other in spec.needs
    )


def synthetic_warnings(plan: Plan) -> Iterator[str]:
    """Yield a sentence for each table of synthetic queries, with who is trained on it."""
    trained: dict[tuple[str, int], list[str]] = {}
    origins: dict[tuple[str, int], Origin] = {}
    for name in plan.suite.candidates:
        for origin in synthetic_origins(plan, name):
            same = (origin.name, origin.kept)
            trained.setdefault(same, []).append(f"'{name}'")
            origins.setdefault(same, origin)
    for same, names in trained.items():
        origin = origins[same]
        are = "is" if len(names) == 1 else "are"
        who = f"candidate{'s' if len(names) > 1 else ''} {', '.join(names)} {are}"
        counts = ", ".join(f"{count:,} {what}" for what, count in origin.dropped.items())
        dropped = f"; dropped: {counts}" if counts else ""
        yield (
            f"{who} trained on synthetic queries: {origin.kept:,} of {origin.read:,} of "
            f"'{origin.name}' ({origin.source}) are kept{dropped}. None of them is scored."
        )
