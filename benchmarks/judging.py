"""Judging: how many judgements reach the decision of all, and whether the intervals hold.

    python benchmarks/judging.py decisions STORE
    python benchmarks/judging.py intervals STORE
    python benchmarks/judging.py settled STORE
    python benchmarks/judging.py hour STORE [COLLECTION ...]

The judgements of three collections are hidden and given back pair by pair. Runs are kept in STORE.
Every verb takes names of collections, for these alone.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from real_worlds import SOURCES, finished

from harness.collection import Judgements
from harness.decision.rules import decide
from harness.decision.situation import Action, GradesUsed, Option, Situation
from harness.judging.design import Design, design
from harness.judging.estimates import Estimated, Sample, estimate_difference, prefix_scores
from harness.judging.rounds import scheduled_looks
from harness.runs.metrics import parse_metric, score
from harness.runs.run import Run
from harness.statistics import mean_interval
from harness.store import Store
from harness.suite.spec import Budgets, DecisionSpec

COLLECTIONS = ("scifact", "nq_utd", "medquad")
BASELINE, CANDIDATES = "potion", ("bm25", "hybrid", "potion/64", "potion/192")
SUITE = """
name = "judging"
metrics = ["ndcg@10"]
baseline = "potion"
[collections.c]
source = "{source}"
[candidates.potion]
model = "{shared}/models/potion-base-8M"
[candidates.bm25]
kind = "bm25"
[candidates.hybrid]
fuse = ["bm25", "potion"]
[candidates."potion/64"]
from = "potion"
truncate = 64
[candidates."potion/192"]
from = "potion"
truncate = 192
"""
METRIC = parse_metric("ndcg@10")
_NOTHING = np.empty(0, dtype=np.int32)
UNJUDGED = Judgements(_NOTHING, _NOTHING, _NOTHING)
REPETITIONS, REPLICATES = 50, 2_000
SIZES = (30, 100, 500)
HOUR, DRAWS = 120, 200  # answers of a person in an hour, and how often what they say is drawn
ANSWERS = ("switch", "probably", "keep", "open")
_HEAD = (*ANSWERS, "nothing differs: switch") * 2
PER_QUERY = 2  # judgements, in the simulation of intervals


@dataclass(frozen=True, eq=False)
class World:
    """A comparison on a collection whose judgements are hidden."""

    collection: str
    candidate: str
    runs: dict[str, Run]
    truth: Judgements

    @cached_property
    def plan(self) -> Design:
        """The pairs, for draws of their own."""
        pair = (BASELINE, self.candidate)
        rng = np.random.default_rng(0)
        return design(self.runs, [pair], METRIC, UNJUDGED, rng=rng)

    @cached_property
    def grades(self) -> np.ndarray:
        """What a person says to each pair, int [n_queries, width]."""
        return np.maximum(0, self.truth.grades_of(self.plan.documents))

    def differences(self, fill: np.ndarray, plan: Design | None = None) -> np.ndarray:
        """Return the difference after 0, 1, ... human grades, float64 [n_queries, width + 1]."""
        plan = plan or self.plan
        runs = [self.runs[BASELINE], self.runs[self.candidate]]
        grades = np.maximum(0, self.truth.grades_of(plan.documents))
        scores = prefix_scores(plan, runs, METRIC, grades, fill=fill)
        return scores[..., 1] - scores[..., 0]

    @cached_property
    def human(self) -> np.ndarray:
        """The differences without a model."""
        return self.differences(np.zeros_like(self.grades))


def worlds(store: Store, collections: Sequence[str]) -> Iterator[World]:
    """Yield every comparison of some collections."""
    for name in collections:
        plan = finished(SUITE, SOURCES[name], store)
        names = (BASELINE, *CANDIDATES)
        runs = {each: plan.scored[each, "c"].run_stage.result(store) for each in names}
        for candidate in CANDIDATES:
            yield World(name, candidate, runs, plan.collections["c"].judgements)


def sign(low: float, high: float) -> int:
    """Return the answer of an interval: 1 better, -1 worse, 0 open."""
    return int(low > 0) - int(high < 0)


Answers = Callable[[np.random.Generator, np.ndarray], list[int]]


def by_chance(plan: Design, human: np.ndarray, model: np.ndarray | None = None) -> Answers:
    """Return what gives the answers of a design with known chances, at some counts."""

    def answers(rng: np.random.Generator, counts: np.ndarray) -> list[int]:
        drawn = replace(plan, numbers=1 - rng.random(len(plan.sizes)))
        found = []
        for count in counts:
            each = estimate_difference(Sample.after(drawn, int(count)), human, model)
            found.append(sign(each.low, each.high))
        return found

    return answers


def with_model(world: World) -> tuple[Design, np.ndarray, np.ndarray]:
    """Return the design where a noisy model has judged all pairs, and the differences.

    float64 [n_queries, width + 1], without the model's grades as the fill and with them.
    """
    said = dict(judges(world))["noisy"]
    queries, places = np.nonzero(world.plan.documents >= 0)
    rows, grades = world.plan.documents[queries, places], said[queries, places]
    held = Judgements(*(each.astype(np.int32) for each in (queries, rows, grades)))
    pair, rng = (BASELINE, world.candidate), np.random.default_rng(0)
    plan = design(world.runs, [pair], METRIC, UNJUDGED, rng=rng, model_grades=held)
    fill = np.maximum(0, held.grades_of(plan.documents))
    human = world.differences(np.zeros_like(fill), plan)
    return plan, human, world.differences(fill, plan)


def by_plain_scores(world: World, *, random: bool) -> Answers:
    """Return what gives the usual answers: judge pairs, take all others as irrelevant.

    Pairs are judged at random, or rank by rank of the two lists.
    """
    queries, documents = np.nonzero(world.plan.documents >= 0)
    rows = world.plan.documents[queries, documents]
    grades = world.grades[queries, documents]
    runs = [world.runs[BASELINE], world.runs[world.candidate]]
    ranks = [run.ranks_of(world.plan.documents) for run in runs]
    best = np.min([np.where(each > 0, each, 1000) for each in ranks], axis=0)[queries, documents]

    def answers(rng: np.random.Generator, counts: np.ndarray) -> list[int]:
        shuffled = rng.permutation(len(rows))
        order = shuffled if random else shuffled[np.argsort(best[shuffled], kind="stable")]
        found = []
        for count in counts:
            taken = np.sort(order[:count])
            judged = Judgements(*(each[taken].astype(np.int32) for each in (queries, rows, grades)))
            n = len(world.plan.documents)
            one, two = (
                score(run, judged, [METRIC], n_queries=n).values[str(METRIC)] for run in runs
            )
            _, low, high = mean_interval(two - one)
            found.append(sign(low, high))
        return found

    return answers


def decisions(store: Store, collections: Sequence[str]) -> None:
    """Print the median judgements from which the answer is that of all judgements, and stays."""
    ways = ("active", "with a noisy model", "random queries", "random pairs", "by depth")
    print("| collection | candidate | pairs | difference |", " | ".join(ways), "|")
    print("| --- | --- | ---: | ---: |" + " ---: |" * len(ways))
    for world in worlds(store, collections):
        everything = estimate_difference(Sample.after(world.plan, world.plan.n_pairs), world.human)
        right = sign(everything.low, everything.high)
        uniform = replace(world.plan, sizes=(world.plan.sizes > 0) * 1.0)
        all_answers = {
            "active": by_chance(world.plan, world.human),
            "with a noisy model": by_chance(*with_model(world)),
            "random queries": by_chance(uniform, world.human),
            "random pairs": by_plain_scores(world, random=True),
            "by depth": by_plain_scores(world, random=False),
        }
        counts = np.unique(np.round(10 * 1.2 ** np.arange(60)).astype(int))
        counts = np.append(counts[counts < world.plan.n_pairs], world.plan.n_pairs)
        row = []
        for way in ways:
            needed, wrong = [], 0
            for repetition in range(REPETITIONS):
                found = np.array(all_answers[way](np.random.default_rng(repetition), counts))
                bad = np.flatnonzero(found != right)
                needed.append(counts[bad[-1] + 1 if len(bad) else 0])
                wrong += bool((found == -right).any()) if right else bool(found.any())
            row.append(f"{np.median(needed):.0f} ({wrong / REPETITIONS:.0%})")
        print(
            f"| {world.collection} | {world.candidate} | {world.plan.n_pairs:,} | "
            f"{everything.difference:+.3f} [{everything.low:+.3f}, {everything.high:+.3f}] | "
            + " | ".join(row)
            + " |",
            flush=True,
        )


def judges(world: World) -> Iterator[tuple[str, np.ndarray | None]]:
    """Yield models that judge, and what each says to every pair."""
    rng = np.random.default_rng(1)
    truth = world.grades
    luck = rng.random(truth.shape)
    ranks = world.runs[world.candidate].ranks_of(world.plan.documents)
    yield "none", None
    yield "perfect", truth
    yield "noisy", np.where(truth > 0, truth * (luck < 0.8), luck < 0.1).astype(np.int64)
    yield "biased to the candidate", np.where((ranks >= 1) & (ranks <= 3), 1, 0)
    yield "always relevant", np.ones_like(truth)


def intervals(store: Store, collections: Sequence[str]) -> None:
    """Print how often the 95% intervals hold the mean of all, on samples of the queries."""
    print("| collection | candidate | n | judge | below | above | se | weight |")
    print("| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for world in worlds(store, collections):
        truth = world.human[:, -1].mean()
        models = {
            judge: None if said is None else world.differences(said)
            for judge, said in judges(world)
        }
        for size in SIZES:
            found: dict[str, list[tuple[float, ...]]] = {judge: [] for judge in models}
            for replicate in range(REPLICATES):
                rng = np.random.default_rng((size, replicate))
                rows = rng.integers(0, len(world.human), size)
                drawn = replace(
                    world.plan,
                    documents=world.plan.documents[rows],
                    sizes=world.plan.sizes[rows],
                    numbers=1 - rng.random(size),
                )
                sample = Sample.after(drawn, PER_QUERY * size)
                for judge, model in models.items():
                    part = None if model is None else model[rows]
                    each = estimate_difference(sample, world.human[rows], part)
                    found[judge].append((each.low > truth, each.high < truth, each.se, each.weight))
            for judge, rows in found.items():
                below, above, _, weight = np.mean(rows, axis=0)
                print(
                    f"| {world.collection} | {world.candidate} | {size} | {judge} | {below:.1%} | "
                    f"{above:.1%} | {np.median(rows, axis=0)[2]:.4f} | {weight:.2f} |",
                    flush=True,
                )


def settled(store: Store, collections: Sequence[str]) -> None:
    """Print how often a comparison is settled by `harness judge` where nothing differs.

    The two candidates change places on queries drawn at random, so the true difference is 0.
    """
    print("| collection | candidate | looks | settled, though nothing differs |")
    print("| --- | --- | ---: | ---: |")
    for world in worlds(store, collections):
        looks = scheduled_looks(world.plan.n_pairs)
        wrong = 0
        for replicate in range(REPLICATES):
            rng = np.random.default_rng(replicate)
            n = len(world.human)
            differences = world.human * rng.choice([-1, 1], size=(n, 1))
            drawn = replace(world.plan, numbers=1 - rng.random(n))
            for count in looks:
                found = estimate_difference(
                    Sample.after(drawn, count), differences, confidence=1 - 0.05 / len(looks)
                )
                if sign(found.low, found.high):
                    wrong += 1
                    break
        print(
            f"| {world.collection} | {world.candidate} | {len(looks)} | {wrong / REPLICATES:.1%} |",
            flush=True,
        )


def hour(store: Store, collections: Sequence[str]) -> None:
    """Print what `decide` says after 120 answers, also where nothing differs.

    Where nothing differs the two candidates change places on queries drawn at random.
    """
    print("| collection | candidate | difference | " + " | ".join(_HEAD) + " |")
    print("| --- | --- | ---: |" + " ---: |" * len(_HEAD))
    for world in worlds(store, collections):
        everything = estimate_difference(Sample.after(world.plan, world.plan.n_pairs), world.human)
        cells = []
        for plan, human, model in ((world.plan, world.human, None), with_model(world)):
            said, false = Counter[str](), 0
            for draw in range(REPLICATES):
                rng = np.random.default_rng(draw)
                drawn = replace(plan, numbers=1 - rng.random(len(plan.sizes)))
                sample = Sample.after(drawn, HOUR)
                if draw < DRAWS:
                    said[decided(world, estimate_difference(sample, human, model), draw)] += 1
                turned = rng.choice([-1, 1], size=(len(human), 1))
                nothing = None if model is None else model * turned
                found = estimate_difference(sample, human * turned, nothing)
                # Nothing is recommended whose interval does not lie above 0.
                false += found.low > 0 and decided(world, found, draw) == "switch"
            cells += [f"{said[each] / DRAWS:.0%}" for each in ANSWERS]
            cells.append(f"{false / REPLICATES:.1%}")
        print(
            f"| {world.collection} | {world.candidate} | {everything.difference:+.3f} "
            f"[{everything.low:+.3f}, {everything.high:+.3f}] | {' | '.join(cells)} |",
            flush=True,
        )


def decided(world: World, found: Estimated, seed: int) -> str:
    """Return what `decide` says of the candidate: one of `ANSWERS`."""
    if not np.isfinite(found.se):
        return "open"
    option = Option(world.candidate, Action.SWITCH, (found.as_differences(),))
    situation = Situation(
        baseline=BASELINE,
        metric=str(METRIC),
        collections=("c",),
        scores=(np.zeros(len(found.values)),),
        options=(option,),
        spec=DecisionSpec(),
        budgets=Budgets(),
        seed=seed,
        grades=(GradesUsed(f"{HOUR} human grades", by_people=True, alone={}),),
    )
    verdict = decide(situation, suite="judging")
    if verdict.candidate == world.candidate:
        return "switch" if verdict.strength == "recommended" else "probably"
    return "keep" if verdict.action is Action.KEEP else "open"


if __name__ == "__main__":
    verbs = {"decisions": decisions, "intervals": intervals, "settled": settled, "hour": hour}
    verbs[sys.argv[1]](Store(Path(sys.argv[2])), sys.argv[3:] or COLLECTIONS)
