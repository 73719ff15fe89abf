"""Selection: how often the best of several options is taken by chance, and when it truly gains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from simulated_worlds import scores

from harness.arrays import Values
from harness.decision.rules import decide
from harness.decision.situation import Action, Option, Situation
from harness.suite.spec import Budgets, DecisionSpec

_CHANGED = 0.4  # share of the queries that a swap of models changes; sd of differences about 0.3


class Rates(NamedTuple):
    """Of simulated suites, the share that takes an option; `right` where it is the one that gains.

    Attributes:
        leaning, recommended: any option.
        right_leaning, right_recommended: the option that gains.
    """

    leaning: float
    recommended: float
    right_leaning: float
    right_recommended: float


def swaps(rng: np.random.Generator, n: int, gains: Sequence[float]) -> tuple[Values, Values]:
    """Draw a baseline [n] and differences [n, k] of other models: nDCG of one relevant document."""
    base = scores(rng, n, 0.5)
    columns = []
    for gain in gains:
        changed = rng.random(n) < _CHANGED
        anew = scores(rng, n, 0.5 + gain / _CHANGED)
        columns.append(np.where(changed, anew - base, 0.0))
    return base, np.stack(columns, axis=1)


def catastrophes(rng: np.random.Generator, n: int, gains: Sequence[float]) -> tuple[Values, Values]:
    """Draw options that lose 0.63 on 2% of the queries and gain up to 0.026 on the others."""
    lost = rng.random((n, len(gains))) < 0.02
    mean = 0.02 * 0.63 / 0.98
    return np.full(n, 0.8), np.where(lost, -0.63, rng.random(lost.shape) * 2 * mean) + gains


def losses(rng: np.random.Generator, n: int, gains: Sequence[float]) -> tuple[Values, Values]:
    """Draw options that tie on 60%, gain 0.14 on 34%, and lose 0.6 to 1 on 6%."""
    kind = rng.choice(3, p=[0.6, 0.34, 0.06], size=(n, len(gains)))
    lost = rng.uniform(0.6, 1.0, size=kind.shape)
    gained = 0.06 * 0.8 / 0.34
    return np.full(n, 0.8), np.select([kind == 1, kind == 2], [gained, -lost], 0.0) + gains


POPULATIONS = {"model swaps": swaps, "rare catastrophes": catastrophes, "rare losses": losses}


def verdicts(
    n: int,
    gains: Sequence[float],
    *,
    population: str = "model swaps",
    replicates: int,
    seed: int = 0,
) -> Rates:
    """Return how often an option is leaned to and recommended.

    Args:
        n: queries.
        gains: of every option in truth; the first may be the one that gains.
        population: of `POPULATIONS`.
        replicates: suites.
        seed: of all draws.
    """
    found: Counter[tuple[str, bool]] = Counter()
    for replicate in range(replicates):
        rng = np.random.default_rng([seed, n, len(gains), replicate])
        base, values = POPULATIONS[population](rng, n, gains)
        options = tuple(
            Option(f"o{place}", Action.SWITCH, (np.clip(column, -1, 1),))
            for place, column in enumerate(values.T)
        )
        situation = Situation(
            "base", "ndcg@10", ("c",), (base,), options, DecisionSpec(), Budgets(), replicate
        )
        decision = decide(situation, suite="selection")
        if decision.action is Action.SWITCH:
            found[decision.strength, decision.candidate == "o0"] += 1
    share = {key: count / replicates for key, count in found.items()}
    right = [share.get((strength, True), 0.0) for strength in ("weak", "recommended")]
    wrong = [share.get((strength, False), 0.0) for strength in ("weak", "recommended")]
    return Rates(right[0] + wrong[0], right[1] + wrong[1], *right)


def rows(*, suites: int, few: int) -> Iterator[str]:
    """Yield the table: options that gain nothing or too little, and one of several that gains.

    Args:
        suites: of every row up to 300 queries.
        few: of the rows of more queries, and of those with an option that gains.
    """
    yield "| population | n | options | true gain | suites | weak | recommended | right one |"
    yield "| --- |" + " ---: |" * 7
    for n, count, gain in product((30, 60, 200), (1, 5, 10, 25), (0.0, 0.005)):
        yield _row("model swaps", n, [gain] * count, f"{gain:g} of all", suites)
    for n, count, gain in product((1000, 2000), (1, 5, 10, 25), (0.0, 0.005)):
        yield _row("model swaps", n, [gain] * count, f"{gain:g} of all", few)
    sizes = ((30, 1), (30, 5), (100, 1), (100, 5), (200, 5), (300, 1), (300, 5))
    for population, (n, count) in product(("rare losses", "rare catastrophes"), sizes):
        yield _row(population, n, [0.0] * count, "0 of all", suites)
    for n, count, gain in product((200, 300, 1000), (1, 10), (0.02, 0.05, 0.1)):
        gains = [gain, *[0.0] * (count - 1)]
        yield _row("model swaps", n, gains, f"{gain:g} of one", few)


def _row(population: str, n: int, gains: Sequence[float], truth: str, suites: int) -> str:
    found = verdicts(n, gains, population=population, replicates=suites, seed=9)
    right = found.right_leaning + found.right_recommended
    shown = f"{right:.0%}, {found.right_recommended:.0%} recommended" if "one" in truth else ""
    return (
        f"| {population} | {n:,} | {len(gains)} | {truth} | {suites} | {found.leaning:.1%} "
        f"| {found.recommended:.1%} | {shown} |"
    )


def main() -> None:
    """Print the table; `selection.md` keeps it with that of the rules before."""
    for row in rows(suites=200, few=60):
        print(row, flush=True)


if __name__ == "__main__":
    main()
