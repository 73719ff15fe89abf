"""Replay: how often a gate blocks, passes or cannot tell, on this data, if a loss is planted.

The first row of each gate is an A/A test: two pipelines of equal quality that differ on as many
queries, and by as much, as the suite's candidates do. A gate that blocks there cries wolf.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harness.arrays import Clusters, Indices, Values
from harness.gates.evaluate import family_levels
from harness.gates.rules import Levels, Seen, answer, see
from harness.gates.sequential import conclude_columns, family_of
from harness.gates.targets import Target, clusters_of, seed_values_of, values_of
from harness.hashing import digest
from harness.plan.plan import Plan
from harness.statistics.pairs import standard_deviation
from harness.statistics.seeds import seed_spread
from harness.suite.gates import NoWorse, Sampled
from harness.value import Value

REPLAYS = 1000
PLANTED_LOSS = 0.03
_CELLS = 1_000_000  # values held at a time


class Rate(Value):
    """A share of the replays with its 95% Wilson interval."""

    share: float
    low: float
    high: float


class Replayed(Value):
    """What one gate answers where one true difference is planted.

    Attributes:
        donor: candidate whose differences from the baseline say what two pipelines differ in, or
            None where the suite has no other.
        planted: true mean difference; of `at_least` the true mean minus the value.
        n: queries of each replay.
    """

    gate: str
    rule: str
    collection: str
    slice: str | None
    donor: str | None
    planted: float
    n: int
    replays: int
    passes: Rate
    fails: Rate
    inconclusive: Rate


class _Pool(NamedTuple):
    """What a replay draws from: one entry per query of a target.

    Attributes:
        sizes: float64 [n], absolute differences between two real pipelines; 0 is a tie.
        own: float64 [n], what the query scores and can lose.
        donor: whose differences, or None.
        clusters: int [n], queries that share their luck; None where each has its own.
        seeds: trainings that the gate's candidate is the mean of; 1 where it is not trained.
        sd_seeds: standard deviation of their means; 0 of one, which tells nothing.
    """

    sizes: Values
    own: Values
    donor: str | None
    clusters: Clusters | None = None
    seeds: int = 1
    sd_seeds: float = 0.0


def replay(plan: Plan, targets: Sequence[Target], *, replays: int = REPLAYS) -> list[Replayed]:
    """Replay every sampled gate that has enough queries; the others are exact or not gated.

    Queries are drawn with replacement; queries in clusters stay as they are, since drawn one by one
    they would be independent, and those of a cluster share one coin. In `no_worse` and `better`
    each query takes the size of its difference between the baseline and a real candidate (the
    gate's own, else the one of median spread) and a random sign: at even odds the true difference
    is 0. A loss is planted by tilting the odds, so that the sizes stay those of real changes and
    no score leaves [0, 1] on average; where all signs together do not reach it, some queries lose
    all that they score. In `at_least` queries lose all that they score until the mean is the
    planted one. Slices keep the confidence that they share, each is replayed by itself. A candidate
    of several training seeds is trained again in each replay: its seeds' means are drawn around the
    planted one, as far apart as they were found.

    Args:
        plan: finished.
        targets: of its suite.
        replays: drawn for each planted difference.
    """
    pools = {
        target: _pool(plan, target)
        for target in targets
        if isinstance(target.spec, Sampled)
        and len(target.rows) >= target.spec.min_queries
        and len(plan.collections[target.collection].judgements.grades)
    }
    spreads: dict[Target, Values] = {}  # real differences, for how the slices depend on each other
    for target, pool in pools.items():
        spreads[target] = pool.sizes if target.is_relative else pool.own
        if pool.donor is not None:
            base = values_of(plan, target, plan.suite.baseline)
            spreads[target] = values_of(plan, target, pool.donor) - base
    levels = family_levels(plan, spreads)
    found: list[Replayed] = []
    for target, pool in pools.items():
        family = family_of(target, targets)
        for planted in _plants(target, pool):
            found += _replayed(
                plan,
                target,
                pool,
                planted,
                replays=replays,
                levels=levels[target],
                family=family,
            )
    return found


def _plants(target: Target, pool: _Pool) -> list[float]:
    match target.spec:
        case NoWorse():
            margin = target.limit
            losses = {0.0, margin / 2, margin, PLANTED_LOSS}
            return [-loss for loss in sorted(losses)]
        case _ if target.is_relative:
            return [0.0, *sorted({target.limit + 0.01, target.limit + PLANTED_LOSS})]
        case _:
            now = float(pool.own.mean()) - target.limit
            return [now, *(at for at in (0.0, -PLANTED_LOSS) if at < now)]


def _replayed(
    plan: Plan,
    target: Target,
    pool: _Pool,
    planted: float,
    *,
    replays: int,
    levels: Levels,
    family: int,
) -> Iterator[Replayed]:
    """Yield the rates of one planted difference; nothing where it cannot be planted."""
    spec = target.sampled
    key = digest("replay", plan.suite.seed, target.gate, target.collection, round(planted, 9))
    generator = np.random.Generator(np.random.Philox(key=int(key, 16)))
    passes = fails = 0
    block = max(1, _CELLS // len(pool.own))
    for start in range(0, replays, block):
        size = min(block, replays - start)
        values = _drawn(target, pool, planted, size=size, generator=generator)
        if values is None:
            return
        if isinstance(spec, NoWorse) and spec.sequential:
            answers = conclude_columns(values, target.limit, family=family)
        else:
            answers = answer(_see(values, spec, levels, pool, generator), spec)
        passes += int(answers.passes.sum())
        fails += int(answers.fails.sum())
    yield Replayed(
        gate=target.gate,
        rule=spec.rule,
        collection=target.collection,
        slice=target.slice,
        donor=pool.donor,
        planted=planted,
        n=len(pool.own),
        replays=replays,
        passes=wilson(passes, replays),
        fails=wilson(fails, replays),
        inconclusive=wilson(replays - passes - fails, replays),
    )


def _drawn(
    target: Target, pool: _Pool, planted: float, *, size: int, generator: np.random.Generator
) -> Values | None:
    """Return [n_queries, size] values with the planted mean, or None where there is no way."""
    rows, chance = _luck(pool, size=size, generator=generator)
    if not target.is_relative:
        mean = float(pool.own.mean())
        lost = (mean - target.limit - planted) / mean if mean else 0.0
        return np.where(chance < lost, 0.0, pool.own[rows])
    return plant(pool.sizes[rows], pool.own[rows], planted, chance=chance, pool=pool)


def _see(
    values: Values,
    spec: Sampled,
    levels: Levels,
    pool: _Pool,
    generator: np.random.Generator,
) -> Seen:
    """Return what the gate sees of each replay, with other training seeds where it has several."""
    if not pool.sd_seeds:
        return see(values, spec, levels, pool.clusters)
    means = generator.normal(0.0, pool.sd_seeds, (pool.seeds, values.shape[1]))
    return see(values + means.mean(axis=0), spec, levels, pool.clusters, seeds=[*means.T])


def _luck(pool: _Pool, *, size: int, generator: np.random.Generator) -> tuple[Indices, Values]:
    """Return which queries a replay asks and the coin of each, both [n_queries, size]."""
    n = len(pool.own)
    if pool.clusters is None:
        rows = generator.integers(n, size=(n, size))
        return rows, generator.random(rows.shape)
    numbers, member = np.unique(pool.clusters, return_inverse=True)
    coins = generator.random((len(numbers), size))
    return np.broadcast_to(np.arange(n)[:, None], (n, size)), coins[member]


def plant(
    sizes: Values, own: Values, planted: float, *, chance: Values, pool: _Pool
) -> Values | None:
    """Return differences with a true mean of `planted`, or None where they cannot reach it.

    Args:
        sizes: float64 [n, columns], absolute differences drawn from the pool.
        own: float64 [n, columns], what these queries can lose.
        planted: true mean difference.
        chance: float64 [n, columns], uniform in [0, 1).
        pool: what was drawn from.
    """
    reach = float(pool.sizes.mean())
    if abs(planted) <= reach:
        falls = 0.5 - planted / (2 * reach) if reach else 0.5
        return np.where(chance < falls, -sizes, sizes)
    whole = float(pool.own.mean())
    if planted > 0 or -planted > whole or whole <= reach:
        return None
    share = (-planted - reach) / (whole - reach)
    return np.where(chance < share, -own, -sizes)


def wilson(count: int, n: int) -> Rate:
    """Return a share with its 95% Wilson score interval.

    >>> wilson(0, 500).high < 0.008
    True
    """
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(method="wilson")
    return Rate(share=count / n, low=float(found.low), high=float(found.high))


def _pool(plan: Plan, target: Target) -> _Pool:
    own, clusters = values_of(plan, target, target.candidate), clusters_of(plan, target)
    by_seed = seed_values_of(plan, target)
    seeds = by_seed.shape[1], seed_spread(by_seed, clusters=clusters).sd_seeds
    if not target.is_relative:
        return _Pool(np.zeros_like(own), own, None, clusters, *seeds)
    base = values_of(plan, target, plan.suite.baseline)
    donor = _donor(plan, target, base)
    other = base if donor is None else values_of(plan, target, donor)
    return _Pool(np.abs(other - base), base, donor, clusters, *seeds)


def _donor(plan: Plan, target: Target, base: Values) -> str | None:
    """Return the gate's candidate if it is not the baseline, else the one of median spread."""
    if target.candidate != plan.suite.baseline:
        return target.candidate
    others = [name for name in plan.suite.candidates if name != plan.suite.baseline]
    columns = [values_of(plan, target, name) - base for name in others]
    if not columns:
        return None
    order = np.argsort(standard_deviation(np.stack(columns, axis=1)), kind="stable")
    return others[int(order[(len(order) - 1) // 2])]
