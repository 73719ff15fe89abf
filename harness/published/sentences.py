"""Sentences: what a search among published results found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from harness.published.better import BetterModels, PublishedComparison
from harness.published.names import counted, listed
from harness.published.reading import SELF_REPORTED
from harness.published.registry import ModelFacts, size


def sentences(found: BetterModels) -> tuple[str, ...]:
    """Return the findings: an overview, each better model, what was left out, and the caveat."""
    return tuple(_sentences(found))


def sentence(found: BetterModels, comparison: PublishedComparison) -> str:
    """Return what is published about one model, with what weakens it."""
    down = comparison.difference < 0
    low, high = comparison.low, comparison.high
    low, high = (-high, -low) if down else (low, high)
    settled = "" if low > 0 else ", which so few tasks do not settle"
    suite = "it is in this suite" if comparison.tested else "it is not in this suite"
    return (
        f"{comparison.model} ({_facts(comparison.facts)}) is {abs(comparison.difference):.3f} "
        f"[{low:.3f}, {high:.3f}] {'below' if down else 'above'} {found.reference} "
        f"on {comparison.n} published {_tasks(found)} "
        f"({comparison.wins} better, {comparison.losses} worse){settled}; {suite}."
        f"{_caveats(comparison)}"
    )


def _sentences(found: BetterModels) -> Iterator[str]:
    above = [each for each in found.compared if each.difference > 0]
    yield (
        f"Of {counted(len(found.compared), 'model')} with published {_tasks(found)} in common "
        f"with {found.reference}, {len(above)} did better on average, {len(found.to_add)} of them "
        "not in this suite."
    )
    yield from (sentence(found, each) for each in above)
    for left in found.left_out:
        models = counted(len(left.models), "model")
        yield f"{models} left out: {left.reason} ({listed(left.models)})."
    yield from found.warnings
    if above:
        yield (
            "Published tasks are not your data, tasks of one family are alike, and the intervals "
            "are not corrected for the number of models: they tell what to measure next."
        )


def _tasks(found: BetterModels) -> str:
    where = f" in {', '.join(found.languages)}" if found.languages else ""
    return f"{found.kind} tasks{where}"


def _facts(facts: ModelFacts) -> str:
    parts = [facts.architecture or ""] if facts.architecture != "dense" else []
    if facts.parameters is None:
        parts.append("size unknown")
    elif facts.parameters > 0:  # BM25 has none
        parts.append(f"{size(facts.parameters)} parameters")
    parts.append(facts.licence or "licence unknown")
    parts.append(facts.released[:7] if facts.released else "date unknown")
    parts.append("closed weights" if facts.open_weights is False else "")
    return ", ".join(part for part in parts if part)


def _caveats(comparison: PublishedComparison) -> str:
    """Return what makes the figures weaker than they look, as one sentence or nothing."""
    revisions = Counter(row.revision for row in comparison.tasks)
    own = revisions.pop(SELF_REPORTED, 0)
    other_data = sum(row.same_data is False for row in comparison.tasks)
    caveats = [
        _largest(comparison),
        f"{own} of {comparison.n} scores self-reported" if own else "",
        f"scores of {len(revisions)} revisions of the model" if len(revisions) > 1 else "",
        f"{counted(other_data, 'task')} on another revision of the data" if other_data else "",
        _trained_on(comparison),
        "" if comparison.training_declared else "training data not declared",
    ]
    said = "; ".join(caveat for caveat in caveats if caveat)
    return f" Note: {said}." if said else ""


def _largest(comparison: PublishedComparison) -> str:
    """Return the difference without its largest task, where that one makes half of it or more."""
    total = comparison.difference * comparison.n
    largest = max(comparison.tasks, key=lambda row: row.difference * total)
    rest = (total - largest.difference) / (comparison.n - 1)
    if not total or abs(largest.difference) < abs(total) / 2:
        return ""
    return f"without {largest.task} the difference is {rest:+.3f}"


def _trained_on(comparison: PublishedComparison) -> str:
    if not comparison.trained_on:
        return ""
    kept = comparison.trained_on[0] in {row.task for row in comparison.tasks}
    names = listed(comparison.trained_on)
    return f"{names} {'kept' if kept else 'left out'}: one of the two models was trained on it"
