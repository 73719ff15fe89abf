"""Provenance: which candidates learned from queries that a model wrote, and from how many."""

from __future__ import annotations

from collections.abc import Iterator

from harness.plan.plan import Plan
from harness.suite.spec import Rerank, needs
from harness.training.data import Origin
from harness.training.finetune import Train


def synthetic_origins(plan: Plan, name: str) -> tuple[Origin, ...]:
    """Return the synthetic data that a candidate itself is trained on."""
    spec = plan.suite.candidates[name]
    if isinstance(spec, Rerank) and spec.rerank.finetune is not None:
        origins = plan.planner.models.recipes.reranker(name, spec).examples.origins
        return tuple(origin for origin in origins if origin.synthetic)
    model = plan.planner.models.models[name].model if name in plan.planner.models.models else None
    if not isinstance(model, Train) or model.name != name:
        return ()
    return tuple(origin for origin in model.data.origins if origin.synthetic)


def is_synthetic(plan: Plan, name: str) -> bool:
    """Tell whether a candidate, or any that it is made of, is trained on synthetic queries."""
    spec = plan.suite.candidates[name]
    return bool(synthetic_origins(plan, name)) or any(
        is_synthetic(plan, other) for other in needs(spec)
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
