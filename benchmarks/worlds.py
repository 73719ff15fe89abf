"""Planted worlds: does the decision give the right answer where the right answer is known?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from real_worlds import SHARED, real
from simulated_worlds import World, simulated

from harness.decision.rules import decide
from harness.decision.situation import Action
from harness.decision.verdict import Decision
from harness.store import Store, default_store

TARGET = 0.9
TABLE = Path(__file__).with_name("worlds.md")
_ABOUT = (
    "Written by `python benchmarks/worlds.py`. Each world is a question to `harness decide` whose "
    "right answer is known: drawn from a stated truth, or made of real runs with a mistake put in "
    "or with all queries for the truth of a sample. A verdict is right if it is one of the right "
    "actions, takes no option that does not gain, and gives the warning that is due. A wrong one "
    "is bad where it is recommended, not leaned to."
)


class Judged(NamedTuple):
    """A world with its verdict."""

    world: World
    decision: Decision

    @property
    def is_right(self) -> bool:
        """Tell whether the verdict is one of the right ones."""
        world, found = self.world, self.decision
        if world.leaning and found.strength == "weak":
            return True
        taken = found.candidate in world.taken or not world.taken
        is_none = found.action in {Action.KEEP, Action.UNDECIDED}
        is_warned = world.warned in " ".join([found.sentence, *found.warnings])
        return found.action in world.right and (taken or is_none) and is_warned

    @property
    def is_confident_wrong(self) -> bool:
        """Tell whether a wrong verdict was recommended."""
        return not self.is_right and self.decision.strength == "recommended"


def judge(worlds: Iterable[World]) -> list[Judged]:
    """Decide in every world."""
    return [Judged(world, decide(world.situation, suite="worlds")) for world in worlds]


def summary(judged: Sequence[Judged]) -> str:
    """Return how many were right, wrong, and wrong with confidence."""
    right = sum(each.is_right for each in judged)
    confident = sum(each.is_confident_wrong for each in judged)
    return (
        f"{len(judged)} worlds: {right} right ({right / len(judged):.0%}), "
        f"{len(judged) - right} wrong, {confident} of them recommended."
    )


def by_kind(judged: Sequence[Judged]) -> str:
    """Return one row per kind, in Markdown."""
    rows = ["| planted | worlds | right | wrong, not recommended | wrong, recommended |"]
    rows.append("| --- |" + " ---: |" * 4)
    for kind in dict.fromkeys(each.world.kind for each in judged):
        of = [each for each in judged if each.world.kind == kind]
        right = sum(each.is_right for each in of)
        confident = sum(each.is_confident_wrong for each in of)
        rows.append(
            f"| {kind} | {len(of)} | {right} | {len(of) - right - confident} | {confident} |"
        )
    return "\n".join(rows)


def table(judged: Sequence[Judged]) -> str:
    """Return one row per world, in Markdown."""
    head = "| planted | world | right, and why | verdict | strength | |"
    return "\n".join([head, "|" + " --- |" * 6, *map(_row, judged)])


def page(simulated_ones: Sequence[Judged], real_ones: Sequence[Judged]) -> str:
    """Return the page that is kept beside the benchmark."""
    both = [*simulated_ones, *real_ones]
    parts = [
        "# Planted worlds",
        _ABOUT,
        f"**{summary(both)}**",
        by_kind(both),
        f"## Simulated\n\n{summary(simulated_ones)}",
        table(simulated_ones),
    ]
    if real_ones:
        parts += [f"## Real runs\n\n{summary(real_ones)}", table(real_ones)]
    return "\n\n".join(parts) + "\n"


def _row(each: Judged) -> str:
    world, found = each.world, each.decision
    named = found.candidate and found.action is not Action.KEEP
    verdict = f"{found.action} ({found.candidate})" if named else str(found.action)
    mark = "right" if each.is_right else "**wrong**"
    right = f"{_actions(world)}: {world.why}"
    return f"| {world.kind} | {world.name} | {right} | {verdict} | {found.strength} | {mark} |"


def _actions(world: World) -> str:
    others = frozenset(Action) - world.right
    if len(others) < len(world.right):
        return f"not {' or '.join(sorted(others))}"
    names = f" ({', '.join(sorted(world.taken))})" if world.taken else ""
    return " or ".join(sorted(world.right)) + names + (", or a weak one" if world.leaning else "")


def main() -> None:
    """Decide in all worlds, write the table, and fail where the target is missed."""
    simulated_ones = judge(simulated())
    print(f"simulated: {summary(simulated_ones)}")
    real_ones: list[Judged] = []
    if SHARED.is_dir():
        real_ones = judge(real(Store(default_store())))
        print(f"real runs: {summary(real_ones)}")
    else:
        print(f"real runs: skipped, {SHARED} is not there")
    both = [*simulated_ones, *real_ones]
    print(by_kind(both))
    if real_ones:
        TABLE.write_text(page(simulated_ones, real_ones))
    if sum(each.is_right for each in both) < TARGET * len(both):
        raise SystemExit(f"fewer than {TARGET:.0%} are right: {summary(both)}")


if __name__ == "__main__":
    main()
