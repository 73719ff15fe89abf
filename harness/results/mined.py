"""Mined: what the mining of hard negatives took and dropped, for each training against them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from harness.plan.plan import Plan

_REASONS = {
    "relevant": "relevant, or read like a relevant one",
    "ceiling": "above the ceiling",
    "margin": "within the margin",
    "duplicate": "repeated",
    "filter": "relevant to the filter's cross-encoder",
    "not needed": "not needed",
}


class MinedNegatives(BaseModel):
    """The hard negatives that one candidate was trained against.

    Attributes:
        candidate: that was trained.
        search: what found them.
        ranks: of the search that were looked at, first and last.
        pairs: of query and relevant document.
        found: documents at these ranks, over all pairs.
        dropped: how many of them were not taken, by reason.
        mined: negatives that were taken.
        random: documents drawn at random where fewer than asked for were left.
        pairs_without: pairs with random documents alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate: str
    search: str
    ranks: tuple[int, int]
    pairs: int
    found: int
    dropped: dict[str, int]
    mined: int
    random: int
    pairs_without: int


def mined_negatives(plan: Plan) -> Iterator[MinedNegatives]:
    """Yield what was mined for every candidate of a finished plan that is trained on it."""
    for name in plan.suite.candidates:
        examples = plan.planner.builder(name).examples()
        stage = examples.negatives if examples is not None else None
        if stage is None:
            continue
        meta = stage.stored(plan.store).meta
        first, last = stage.spec.range
        counts = ("pairs", "found", "dropped", "mined", "random", "pairs_without")
        yield MinedNegatives(
            candidate=name,
            search=stage.first.name,
            ranks=(first, last),
            **{count: meta[count] for count in counts},
        )


def in_words(mined: MinedNegatives) -> str:
    """Return what was taken and dropped, in a sentence."""
    first, last = mined.ranks
    dropped = ", ".join(
        f"{count:,} {_REASONS.get(reason, reason)}"
        for reason, count in mined.dropped.items()
        if count
    )
    drawn = (
        f" {mined.random:,} more are drawn at random where fewer were left"
        f" ({mined.pairs_without:,} pairs have these alone)."
        if mined.random
        else ""
    )
    return (
        f"'{mined.candidate}' is trained against {mined.mined:,} hard negatives of {mined.pairs:,} "
        f"pairs, of {mined.found:,} documents at ranks {first} to {last} of {mined.search} "
        f"(left out: {dropped or 'none'}).{drawn}"
    )
