"""Replicas: a candidate that is trained with several seeds, planned as one candidate for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.suite.spec import Candidate, Finetune, Fuse, Rerank, Suite, needs, recipe_of
from harness.suite.training import FinetuneSpec, RerankerFinetuneSpec

Recipe = TypeVar("Recipe", FinetuneSpec, RerankerFinetuneSpec)


@dataclass(frozen=True)
class Replicas:
    """A suite in which every candidate that depends on training seeds stands once for each seed.

    Whatever is made of a candidate with several seeds, such as a truncation, a reranking or a
    fusion, is made of it seed by seed, so that its own scores tell what the seeds do to them.

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
        needed = in_order([name], lambda each: needs(candidates[each]))
        is_trained = any(recipe_of(candidates[each]) is not None for each in needed)
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
    candidates: dict[str, Candidate] = dict(suite.candidates)
    seeds = dict.fromkeys(suite.candidates, suite.seed)
    for name, replicas in names.items():
        for number, replica in enumerate(replicas[1:], start=1):
            renamed = {
                other: names[other][number]
                for other in needs(suite.candidates[name])
                if counts[other] > 1
            }
            candidates[replica] = _of_others(suite.candidates[name], renamed)
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
    for name in in_order(suite.candidates, lambda each: needs(suite.candidates[each])):
        spec = suite.candidates[name]
        recipe = recipe_of(spec)
        own = recipe.seeds if recipe is not None else 1
        counts[name] = max([own, *(counts[other] for other in needs(spec))])
    return counts


def _named(suite: Suite, name: str, number: int) -> str:
    """Return a name for the replica of a seed, as progress shows it."""
    found = f"{name}, seed {number}"
    while found in suite.candidates:
        found += "'"
    return found


def _of_others(spec: Candidate, renamed: Mapping[str, str]) -> Candidate:
    """Return a candidate that is made of other ones."""
    more: dict[str, Any] = {}
    match spec:
        case Fuse():
            return spec.model_copy(update={"fuse": [renamed.get(name, name) for name in spec.fuse]})
        case Rerank():
            how = spec.rerank
            changed = {
                "candidate": renamed.get(how.candidate or "", how.candidate),
                "finetune": how.finetune and _mined_by(how.finetune, renamed),
            }
            more = {"rerank": how.model_copy(update=changed)}
        case Finetune():
            more = {"finetune": _mined_by(spec.finetune, renamed)}
    parents = [renamed.get(name, name) for name in spec.parents]
    return spec.model_copy(update={"parent": parents[0], **more} if parents else more)


def _mined_by(recipe: Recipe, renamed: Mapping[str, str]) -> Recipe:
    """Return a recipe whose hard negatives are found by another candidate."""
    mined = recipe.hard_negatives
    if mined is None or mined.candidate is None or mined.candidate not in renamed:
        return recipe
    by = mined.model_copy(update={"candidate": renamed[mined.candidate]})
    return recipe.model_copy(update={"hard_negatives": by})
