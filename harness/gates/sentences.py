"""Sentences: why a gate concludes what it does, with what it would take to tell."""

from __future__ import annotations

import math

from harness.gates.report import State
from harness.gates.rules import Levels, Seen
from harness.statistics.distributions import t_probability
from harness.statistics.inferiority import queries_for_non_inferiority
from harness.statistics.power import queries_for_effect
from harness.statistics.verdicts import more_in_words
from harness.suite.spec import AtLeast, Better, NoWorse, Sampled


def reason(state: State, spec: Sampled, *, seen: Seen, n: int, levels: Levels) -> str:
    """Return the answer of a sampled gate as a sentence; `levels` are those that `seen` has."""
    match spec:
        case NoWorse():
            return _no_worse(state, spec, seen, n, levels)
        case Better():
            return _better(state, spec, seen, n)
        case AtLeast():
            return _at_least(state, spec, seen, n)


def unchanged(asked: str, warning: str, *, ranked_alike: bool) -> str:
    """Return what an unchanged pipeline is told, with what a change could not show."""
    what = "No ranking changed" if ranked_alike else f"No query's {asked} changed"
    return f"{what}: exact, without inference. {warning}".strip()


def not_gated(n: int, spec: Sampled, mde: float | None) -> str:
    """Return why a set of queries is too small to be gated."""
    shows = f" A difference below {mde:.3f} would not show." if mde else ""
    return f"{n} queries, fewer than min_queries = {spec.min_queries}.{shows}"


def _no_worse(state: State, spec: NoWorse, seen: Seen, n: int, levels: Levels) -> str:
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
    would = math.floor(bound * 1000 + 1) / 1000
    set_it = f" margin = {would:g} would accept that." if would <= 1 else ""
    return (
        f"A loss of up to {bound:.4f} is possible and the margin is {margin:g}."
        f"{_more(_for_margin(margin, seen, n, levels) - n, 'difference')}{set_it}"
    )


def _for_margin(margin: float, seen: Seen, n: int, levels: Levels) -> int:
    """Return the queries that pass or fail `no_worse`, whichever are fewer."""
    mean, sd = float(seen.mean[0]), _sd(seen, n)
    ways = []
    if mean > -margin:
        alpha = 1 - levels.bound
        ways.append(queries_for_non_inferiority(sd, margin, difference=mean, alpha=alpha))
    if mean < -margin / 2:
        ways.append(queries_for_effect(sd, mean, alpha=1 - levels.interval))
    return min(ways)


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
    critical = float((seen.high[0] - seen.mean[0]) / seen.se[0]) if seen.se[0] else 0.0
    alpha = 2 * t_probability(-critical, n - 1)
    return _more(queries_for_effect(_sd(seen, n), distance, alpha=alpha) - n, "mean")


def _more(count: int, what: str) -> str:
    """Return how many more queries settle it; nothing where more queries alone do not."""
    if count <= 0:
        return ""
    return f" About {more_in_words(count)} would settle it, if the {what} stays as it is."


def _sd(seen: Seen, n: int) -> float:
    return float(seen.se[0]) * math.sqrt(n)
