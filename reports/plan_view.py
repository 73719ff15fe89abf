"""The plan as a terminal shows it: the tree of candidates, the stages, and what is left."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from harness.plan.plan import Plan
from harness.progress import duration
from harness.retrieval.precision import choices
from harness.stage import Stage, Work

Left = list[tuple[Stage, Work]]

_FASTEST = 4  # times the modest rate that `operations_per_second` guesses, on an idle machine
_NEARLY = 1.25  # an estimate whose ends differ by less is one number
_SECONDS_TO_LOAD, _SECONDS_TO_COMPARE, _SECONDS_TO_REPORT = 3.0, 0.2, 3.0


def render(plan: Plan) -> RenderableType:
    """Return the tree of candidates, a table of stages, and the totals in a sentence."""
    left = plan.left()
    return Group(
        _tree(plan),
        Text(),
        _collections(plan),
        Text(),
        _stages(plan, left),
        Text(),
        *(Text(f"Warning: {warning}") for warning in plan.planner.warnings),
        *(Text(f"Engine and precision of {line}") for line in choices(plan.stages, plan.store)),
        Text(in_a_sentence(plan, left)),
    )


def as_json(plan: Plan) -> dict[str, Any]:
    """Return the same for machines."""
    left = {id(stage): work for stage, work in plan.left()}
    return {
        "suite": plan.suite.name,
        "device": plan.device,
        "candidates": {
            name: {
                "kind": spec.word,
                "summary": spec.summary,
                "parents": list(spec.parents),
                "prompts": _prompts(plan, name),
            }
            for name, spec in plan.suite.candidates.items()
        },
        "stages": [
            {
                "label": stage.label,
                "key": stage.key(plan.store),
                "cached": id(stage) not in left,
                **left.get(id(stage), Work())._asdict(),
            }
            for stage in plan.stages
        ],
        "texts": sum(work.texts for work in left.values()),
        "pairs": sum(work.pairs for work in left.values()),
        "requests": sum(work.requests for work in left.values()),
        "tokens": sum(work.tokens for work in left.values()),
        "warnings": plan.planner.warnings,
        "dtypes": list(choices(plan.stages, plan.store)),
    }


def in_a_sentence(plan: Plan, left: Left) -> str:
    """Return what is left to do and roughly how long it takes."""
    if not left:
        return f"All {len(plan.stages)} stages are cached: nothing is encoded, trained or scored."
    texts = sum(work.texts for _, work in left)
    pairs = sum(work.pairs for _, work in left)
    cached = len(plan.stages) - len(left)
    requests = sum(work.requests for _, work in left)
    tokens = sum(work.tokens for _, work in left)
    counts = f"{texts:,} texts to encode" + (f", at most {pairs:,} pairs to score" if pairs else "")
    if requests:
        counts += f", {requests:,} requests to a language model (about {tokens:,} tokens)"
    return (
        f"{len(left)} of {len(plan.stages)} stages are left ({cached} cached): {counts}. "
        f"{duration_of(plan, left)}."
    )


def duration_of(plan: Plan, left: Left) -> str:
    """Return how long what is left takes: about, at rates that were seen here, else a range."""
    beside = _beside(plan, left)
    seen = sum(work.seconds or 0.0 for _, work in left if work.measured)
    guessed = sum(work.seconds or 0.0 for _, work in left if not work.measured)
    low, high = seen + guessed / _FASTEST + beside, seen + guessed + beside
    open_ended = sum(work.seconds is None for _, work in left)
    more = f", and {open_ended} more whose models are not there yet" if open_ended else ""
    if high < _NEARLY * low:
        basis = f", as earlier runs on this {plan.device} took" if seen else ""
        return f"About {duration((low + high) / 2)}{basis}{more}"
    return f"Between {duration(low)} and {duration(high)} on an idle {plan.device}{more}"


def _beside(plan: Plan, left: Left) -> float:
    """Return about the seconds of what no stage counts: loading models, statistics, the report."""
    models = {
        id(getattr(stage, "model", None))
        for stage, work in left
        if (work.texts or work.pairs) and not work.measured  # what was seen holds the loading
    }
    return (
        _SECONDS_TO_LOAD * len(models) + _SECONDS_TO_COMPARE * len(plan.scored) + _SECONDS_TO_REPORT
    )


def _tree(plan: Plan) -> Tree:
    suite = plan.suite
    root = Tree(Text(f"{suite.name}: {suite.question}" if suite.question else suite.name))
    nodes: dict[str, Tree] = {}
    for name in (name for name in plan.planner.order if name in suite.candidates):
        spec = suite.candidates[name]
        line = Text(name, style="bold")
        if name == suite.baseline:
            line.append(" (baseline)")
        line.append(f"  {spec.summary}", style="dim")
        if prompts := _prompts(plan, name):
            listed = ", ".join(f"{role} {text!r}" for role, text in prompts.items())
            line.append(f"  (prompts: {listed})", style="dim")
        above = nodes[spec.parents[0]] if len(spec.parents) == 1 else root
        nodes[name] = above.add(line)
    return root


def _prompts(plan: Plan, name: str) -> dict[str, str] | None:
    """Return what is put before queries and documents; None where a candidate encodes nothing."""
    dense = plan.planner.models.get(name)
    if dense is None or dense.model is None or dense.owner != name:
        return None
    return dict(zip(("query", "document"), dense.prompts, strict=True))


def _collections(plan: Plan) -> Table:
    table = Table("collection", "split", box=None, pad_edge=False)
    for column in ("documents", "queries", "judgements"):
        table.add_column(column, justify="right")
    for name, collection in plan.collections.items():
        table.add_row(
            Text(name),
            Text(collection.split),
            f"{len(collection.documents):,}",
            f"{len(collection.queries):,}",
            f"{len(collection.judgements.grades):,}",
        )
    return table


def _stages(plan: Plan, left: Left) -> Table:
    work = {id(stage): what for stage, what in left}
    table = Table("stage", "state", box=None, pad_edge=False)
    for column in ("texts", "pairs", "about"):
        table.add_column(column, justify="right")
    for stage in plan.stages:
        left_to_do = work.get(id(stage))
        requests = left_to_do.requests if left_to_do is not None else 0
        asked = f" ({requests:,} requests)" if requests else ""
        table.add_row(Text(stage.label + asked), *_state(left_to_do))
    return table


def _state(work: Work | None) -> tuple[str, ...]:
    if work is None:
        return "cached", "", "", ""
    counts = (f"{count:,}" if count else "" for count in (work.texts, work.pairs))
    if work.seconds is None:
        return ("to do", *counts, "unknown")
    return ("to do", *counts, duration(work.seconds) if work.seconds >= 1 else "")
