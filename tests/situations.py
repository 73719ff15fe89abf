"""Situations with a known truth, from which the tests of the decision are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.decision.rules import decide
from harness.decision.situation import Action, Option, Situation
from harness.decision.verdict import Decision
from harness.suite.spec import Budgets, DecisionSpec


def differences(mean: float, *, sd: float = 0.2, n: int = 400, seed: int = 1) -> np.ndarray:
    """Return differences with exactly this mean and standard deviation."""
    drawn = np.random.default_rng(seed).normal(size=n)
    return np.clip(mean + sd * (drawn - drawn.mean()) / drawn.std(ddof=1), -1, 1)


def option(
    name: str,
    values: float | np.ndarray | Sequence[np.ndarray],
    action: Action = Action.SWITCH,
    **others: Any,
) -> Option:
    """Return an option; a number stands for `differences` of that mean."""
    if isinstance(values, float):
        values = differences(values, seed=sum(map(ord, name)))
    per_collection = (values,) if isinstance(values, np.ndarray) else tuple(values)
    return Option(name=name, action=action, differences=per_collection, **others)


def cut(name: str, values: float | np.ndarray, width: int, of: str = "base") -> Option:
    """Return a truncation."""
    left = f"{width} dimensions"
    return option(name, values, Action.TRUNCATE, shortens=of, width=width, left=left)


def situation(*options: Option, n: int = 400, **others: Any) -> Situation:
    """Return a situation whose baseline is called base."""
    sizes = [len(part) for part in options[0].differences] if options else [n]
    values: dict[str, Any] = {
        "baseline": "base",
        "metric": "ndcg@10",
        "collections": tuple(f"c{place}" for place in range(len(sizes))),
        "scores": tuple(np.full(size, 0.5) for size in sizes),
        "options": options,
        "spec": DecisionSpec(),
        "budgets": Budgets(),
        "seed": 13,
    }
    return Situation(**{**values, **others})


def decided(*options: Option, **others: Any) -> Decision:
    """Return the decision of a situation."""
    return decide(situation(*options, **others), suite="small")


def rule(decision: Decision, name: str) -> tuple[bool, str]:
    """Return whether a rule decided, and its evidence."""
    [found] = [each for each in decision.rules if each.name == name]
    return found.decided, found.evidence
