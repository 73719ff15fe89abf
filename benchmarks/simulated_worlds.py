"""Simulated worlds: situations drawn from a known truth, and the actions that are right in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from planted_kinds import KINDS, NOT, Planted, cut, switch

from harness.arrays import Values
from harness.decision.holes import Contradiction
from harness.decision.situation import Action, Health, Option, Situation
from harness.runs.headroom import Gap
from harness.suite.spec import Budgets, DecisionSpec

# nDCG@10 of one relevant document at ranks 1 to 10, and not among them.
LEVELS = np.append(1 / np.log2(np.arange(1, 11) + 1), 0.0)
HEALTHY = 0.06  # share of contradicted judgements among the agreed, where labels are right
AGREED = 0.4  # share of queries on which two systems agree


class World(NamedTuple):
    """A situation and what is right in it.

    Attributes:
        kind: what is planted, in words.
        name: kind, size and seed.
        right: actions that are right.
        taken: names that may be taken with them; empty where none is taken, or any may be.
        leaning: whether any weak recommendation is right, as where queries are few.
        why: why these are right.
        warned: what a warning of the verdict must say, or "".
    """

    kind: str
    name: str
    situation: Situation
    right: frozenset[Action]
    taken: frozenset[str] = frozenset()
    leaning: bool = False
    why: str = ""
    warned: str = ""


def scores(rng: np.random.Generator, n: int, mean: float) -> Values:
    """Draw values of nDCG@10 with this expected mean: mostly 1 and 0, the rest in between."""
    middle = LEVELS[1:-1]
    tail = 0.7 ** np.arange(len(middle))
    tail /= tail.sum()
    between = 0.3 * min(1.0, 2 * mean, 2 * (1 - mean))
    first = mean - between * float(tail @ middle)
    shares = np.concatenate([[first], between * tail, [1 - first - between]])
    drawn: Values = rng.choice(LEVELS, p=shares.clip(0) / shares.clip(0).sum(), size=n)
    return drawn


def options(
    rng: np.random.Generator, planted: Sequence[Planted], sizes: Sequence[int], base: float
) -> tuple[tuple[Values, ...], tuple[Option, ...]]:
    """Draw a baseline and its options: the changed queries are drawn anew, with another mean."""
    baseline = tuple(scores(rng, n, base) for n in sizes)
    drawn = []
    for each in planted:
        differences = []
        for values in baseline:
            changed = rng.random(len(values)) < each.changed
            anew = scores(rng, len(values), base + each.gain / each.changed)
            differences.append(np.where(changed, anew - values, 0.0))
        drawn.append(Option(each.name, each.action, tuple(differences), **dict(each.others)))
    return baseline, tuple(drawn)


def simulate(
    planted: Sequence[Planted],
    *,
    sizes: Sequence[int],
    seed: int,
    base: float = 0.5,
    wrong: float = HEALTHY,
    **others: Any,
) -> Situation:
    """Return a situation with these options over collections of these sizes."""
    rng = np.random.default_rng(seed)
    baseline, drawn = options(rng, planted, sizes, base)
    n = sum(sizes)
    agreed = int(rng.binomial(n, AGREED))
    health = Health(contradiction=Contradiction(agreed, int(rng.binomial(agreed, wrong))))
    values: dict[str, Any] = {
        "baseline": "base",
        "metric": "ndcg@10",
        "collections": tuple(f"c{place}" for place in range(len(sizes))),
        "scores": baseline,
        "options": drawn,
        "spec": DecisionSpec(),
        "budgets": Budgets(),
        "seed": seed,
        "health": health,
        "gap": Gap(base, (1 - base) / 2, (1 - base) / 2, 100),
    }
    return Situation(**{**values, **others})


def simulated(seeds: Sequence[int] = (1, 2)) -> Iterator[World]:
    """Yield every kind in every size with every seed; a seed is never shared by two worlds."""
    for number, kind in enumerate(KINDS):
        for place, sizes in enumerate(kind.sizes):
            for seed in seeds:
                situation = simulate(
                    kind.planted,
                    sizes=sizes,
                    seed=seed + 1000 * place + 10_000 * number,
                    **dict(kind.others),
                )
                yield World(
                    kind=kind.name,
                    name=f"n={'+'.join(map(str, sizes))}, seed {seed}",
                    situation=situation,
                    right=kind.right,
                    taken=frozenset(kind.taken),
                    leaning=kind.leaning,
                    why=kind.why,
                    warned=kind.warned,
                )
    yield from rare_catastrophes(seeds)
    yield from rare_losses_of_a_switch(seeds)
    yield from losing_collection(seeds)


def rare_losses_of_a_switch(seeds: Sequence[int]) -> Iterator[World]:
    """Yield five switches that gain nothing in truth: 2% of the queries lose 0.63."""
    for seed in seeds:
        rng = np.random.default_rng(98_000 + seed)
        lost = rng.random((100, 5)) < 0.02
        values = np.where(lost, -0.63, rng.random(lost.shape) * 2 * 0.02 * 0.63 / 0.98)
        start = simulate((switch("o", 0.0),), sizes=(100,), seed=seed)
        five = tuple(Option(f"o{at}", Action.SWITCH, (values[:, at],)) for at in range(5))
        yield World(
            "rare queries lose all, five options",
            f"n=100, seed {seed}",
            replace(start, options=five),
            NOT,
            why="no option gains; few of the losses were seen",
        )


def losing_collection(seeds: Sequence[int]) -> Iterator[World]:
    """Yield a switch that gains 0.12 on one collection and loses 0.05 on the other."""
    for seed in seeds:
        gaining, losing = (
            simulate((switch("better", gain, 0.4),), sizes=(500,), seed=seed + 7 * place)
            for place, gain in enumerate((0.16, -0.06))
        )
        parts = (*gaining.options[0].differences, *losing.options[0].differences)
        yield World(
            "a collection loses behind a good mean",
            f"n=500+500, seed {seed}",
            replace(
                gaining,
                collections=("c0", "c1"),
                scores=(*gaining.scores, *losing.scores),
                options=(Option("better", Action.SWITCH, parts),),
            ),
            frozenset({Action.SWITCH}),
            frozenset({"better"}),
            why="0.16 on one and -0.06 on the other, which has to be said",
            warned="Collections disagree.",
        )


def rare_catastrophes(seeds: Sequence[int]) -> Iterator[World]:
    """Yield truncations whose mean is whole, while 5% of the queries lose all."""
    for seed in seeds:
        rng = np.random.default_rng(99_000 + seed)
        start = simulate((cut(128, 0.0, 0.02),), sizes=(1500,), seed=seed)
        [option] = start.options
        kinds = rng.choice([-1.0, 0.25, 0.0], p=[0.05, 0.2, 0.75], size=1500)
        harmed = Option(option.name, option.action, (kinds,), shortens="base", width=128)
        yield World(
            "truncation: rare queries lose all",
            f"n=1500, seed {seed}",
            replace(start, options=(harmed,)),
            NOT,
            why="the mean does not move, but the cap on severe losses is 0.02",
        )
