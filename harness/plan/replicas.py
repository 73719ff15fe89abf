"""Replicas: a candidate that is trained with several seeds, planned as one candidate for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from harness.suite.kinds.kind import CandidateSpec
from harness.suite.spec import Suite


@dataclass(frozen=True)
class Replicas:
    """A suite in which every candidate that depends on training seeds stands once for each seed.

    A candidate that uses one with several seeds, such as a truncation, a reranking or a fusion,
    has a replica for each of them, so that its own scores show the variance between seeds.

    Attributes:
        suite: the suite's candidates, and their replicas of the second and later seeds.
        names: the replicas of each candidate of the suite, itself first.
        first: of each replica, the candidate of the suite.
        seeds: training seed of each replica.
    """

    suite: Suite
    names: Mapping[str, tuple[str, ...]]
    first: Mapping[str, str]
    seeds: Mapping[str, int]

    def trained(self, name: str) -> list[int]:
        """Return the seeds of the trainings that a candidate depends on; none if it has none."""
        candidates = self.suite.candidates
        needed = in_order([name], lambda each: candidates[each].needs)
        is_trained = any(candidates[each].recipe is not None for each in needed)
        return [self.seeds[each] for each in self.names[name]] if is_trained else []


def with_replicas(suite: Suite) -> Replicas:
    """Return a suite with a replica of each candidate for each training seed.

    The first seed is the suite's, so that asking for more seeds trains only those.
    """
    counts = _counts(suite)
    names = {
        name: (name, *(_named(suite, name, number) for number in range(2, count + 1)))
        for name, count in counts.items()
    }
    candidates: dict[str, CandidateSpec] = dict(suite.candidates)
    seeds = dict.fromkeys(suite.candidates, suite.seed)
    for name, replicas in names.items():
        for number, replica in enumerate(replicas[1:], start=1):
            renamed = {
                other: names[other][number]
                for other in suite.candidates[name].needs
                if counts[other] > 1
            }
            candidates[replica] = suite.candidates[name].renamed(renamed)
            seeds[replica] = (suite.seed + number) % 2**32
    return Replicas(
        suite=suite.model_copy(update={"candidates": candidates}),
        names=names,
        first={each: name for name, replicas in names.items() for each in replicas},
        seeds=seeds,
    )


def in_order(names: Iterable[str], before: Callable[[str], Iterable[str]]) -> list[str]:
    """Return names with each after everything that has to come before it.

    >>> in_order("abc", {"a": "c", "b": "", "c": "b"}.__getitem__)
    ['b', 'c', 'a']
    """
    order: dict[str, None] = {}
    waiting = list(reversed(list(names)))
    while waiting:
        missing = [other for other in before(waiting[-1]) if other not in order]
        if missing and waiting[-1] not in order:
            waiting += reversed(missing)
        else:
            order[waiting.pop()] = None
    return list(order)


def _counts(suite: Suite) -> dict[str, int]:
    """Return the seeds that each candidate depends on: its own, or those of what it needs."""
    counts: dict[str, int] = {}
    for name in in_order(suite.candidates, lambda each: suite.candidates[each].needs):
        spec = suite.candidates[name]
        recipe = spec.recipe
        own = recipe.seeds if recipe is not None else 1
        counts[name] = max([own, *(counts[other] for other in spec.needs)])
    return counts


def _named(suite: Suite, name: str, number: int) -> str:
    """Return a name for the replica of a seed, as progress shows it."""
    found = f"{name}, seed {number}"
    while found in suite.candidates:
        found += "'"
    return found
