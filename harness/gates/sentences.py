"""Sentences: why a gate concludes what it does, with what it would take to tell."""

from __future__ import annotations

import math

from harness.gates.report import State
from harness.gates.rules import Seen
from harness.statistics.power import queries_for_effect
from harness.statistics.verdicts import more_queries
from harness.suite import AtLeast, Better, NoWorse


def reason(state: State, spec: NoWorse | Better | AtLeast, seen: Seen, n: int) -> str:
    """Return the answer of a sampled gate as a sentence."""
    match spec:
        case NoWorse():
            return _no_worse(state, spec, seen, n)
        case Better():
            return _better(state, spec, seen, n)
        case AtLeast():
            return _at_least(state, spec, seen, n)


def unchanged(asked: str, warning: str, *, ranked_alike: bool) -> str:
    """Return what an unchanged pipeline is told, with what a change could not show."""
    what = "No ranking changed" if ranked_alike else f"No query's {asked} changed"
    return f"{what}: exact, without inference. {warning}".strip()


def not_gated(n: int, spec: NoWorse | Better | AtLeast, mde: float | None) -> str:
    """Return why a set of queries is too small to be gated."""
    shows = f" A difference below {mde:.3f} would not show." if mde else ""
    return f"{n} queries, fewer than min_queries = {spec.min_queries}.{shows}"


def _no_worse(state: State, spec: NoWorse, seen: Seen, n: int) -> str:
    margin, bound = spec.accepted_loss, -float(seen.bound[0])
    if state is State.PASS and bound < 0:
        return f"A gain of less than {-bound:.4f} is excluded; a loss of {margin:g} would pass."
    if state is State.PASS:
        return f"A loss of {bound:.4f} or more is excluded; the margin is {margin:g}."
    if state is State.FAIL:
        return (
            f"It loses {-float(seen.mean[0]):.4f}, more than half the margin of {margin:g}, and "
            "the interval lies below 0."
        )
    mean = float(seen.mean[0])
    more = more_queries(mean, _sd(seen, n), n, margin=margin)
    would = math.floor(bound * 1000 + 1) / 1000
    set_it = f" margin = {would:g} would accept that." if would <= 1 else ""
    return (
        f"A loss of up to {bound:.4f} is possible and the margin is {margin:g}; about {more} more "
        f"queries are needed to tell, if the difference stays as it is.{set_it}"
    )


def _better(state: State, spec: Better, seen: Seen, n: int) -> str:
    gain = f"more than {spec.gain:g}" if spec.gain else "anything"
    if state is State.PASS:
        return f"It gains {gain}: the whole interval lies above."
    if state is State.FAIL:
        return f"It does not gain {gain}: the whole interval lies at or below."
    return f"Whether it gains {gain} is open.{_enough(seen, n, spec.gain)}"


def _at_least(state: State, spec: AtLeast, seen: Seen, n: int) -> str:
    if state is State.PASS:
        return f"The mean is at least {spec.value:g}, with its whole interval."
    if state is State.FAIL:
        return f"The mean is below {spec.value:g}, with its whole interval."
    return f"The interval of the mean contains {spec.value:g}.{_enough(seen, n, spec.value)}"


def _enough(seen: Seen, n: int, limit: float) -> str:
    distance = float(seen.mean[0]) - limit
    if distance == 0:
        return ""
    more = max(1, queries_for_effect(_sd(seen, n), distance) - n)
    return f" About {more} more queries would tell, if the mean stays as it is."


def _sd(seen: Seen, n: int) -> float:
    return float(seen.se[0]) * math.sqrt(n)
