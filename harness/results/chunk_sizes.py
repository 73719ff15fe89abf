"""Chunk sizes: what cutting the same documents otherwise does to each candidate.

Collections that differ in their passages alone have the same queries and judged documents, so that
a candidate is compared with itself, query by query. All of them together are one family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from harness.results.comparison import Edge, Sizes, compare
from harness.statistics.verdicts import Verdict, more_in_words, signed
from harness.value import Value

if TYPE_CHECKING:
    from harness.plan.plan import Plan


class ChunkSize(Value):
    """A candidate on documents that are cut otherwise, against itself on the first collection.

    Attributes:
        collection: with the other passages.
        reference: the first collection of the suite with these documents and queries.
        metric: that decides.
        passages, reference_passages: how the documents of each are cut, in words.
        n, difference, low, high, family_low, family_high, p_adjusted, verdict, more_queries, mde,
            wins, ties, losses: as of a `Comparison`; the family is all candidates on all other
            passages of these documents.
    """

    candidate: str
    collection: str
    reference: str
    metric: str
    passages: str
    reference_passages: str
    n: int
    difference: float
    low: float
    high: float
    family_low: float
    family_high: float
    p_adjusted: float
    verdict: Verdict
    more_queries: int
    mde: float
    wins: int
    ties: int
    losses: int


def chunk_sizes(plan: Plan) -> Iterator[ChunkSize]:
    """Yield each candidate of a finished plan on each collection that is cut otherwise."""
    suite, metric = plan.suite, plan.suite.deciding_metric
    others = {
        name: first for name, first in suite.cut_otherwise.items() if name in plan.collections
    }
    sizes = Sizes(gain=suite.decision.gain, margin=suite.decision.margin)
    for first in dict.fromkeys(others.values()):
        places = [name for name, of in others.items() if of == first]
        cards = {
            f"{name} on {place}": plan.scored[name, place].result(plan.store)
            for name in suite.candidates
            for place in (first, *places)
        }
        edges: list[Edge] = [
            (f"{name} on {place}", f"{name} on {first}", "baseline")
            for name in suite.candidates
            for place in places
        ]
        found = compare(
            cards,
            edges,
            [metric],
            collection=first,
            seed=suite.seed,
            sizes=sizes,
            clusters=plan.collections[first].clusters,
            store=plan.store,
        )
        pairs = [(name, place) for name in suite.candidates for place in places]
        for (name, place), each in zip(pairs, found, strict=True):
            yield ChunkSize(
                candidate=name,
                collection=place,
                reference=first,
                metric=str(metric),
                passages=cut_in_words(plan, place),
                reference_passages=cut_in_words(plan, first),
                n=each.n,
                difference=each.difference,
                low=each.low,
                high=each.high,
                family_low=each.family_low,
                family_high=each.family_high,
                p_adjusted=each.p_adjusted,
                verdict=each.verdict,
                more_queries=each.more_queries,
                mde=each.mde,
                wins=each.wins,
                ties=each.ties,
                losses=each.losses,
            )


def cut_in_words(plan: Plan, collection: str) -> str:
    """Return how the documents of a collection are cut, such as "128 tokens"."""
    passages = plan.collections[collection].passages
    return "whole documents" if passages is None else str(passages.cut)


def chunk_size_in_words(found: Sequence[ChunkSize], candidate: str) -> Iterator[str]:
    """Yield a sentence for each other way to cut the documents, about one candidate."""
    for each in found:
        if each.candidate != candidate:
            continue
        answer = str(each.verdict)
        if each.verdict is Verdict.INCONCLUSIVE:
            answer += (
                f" (an effect below {each.mde:.3f} is not reliably detected (power under 0.80)"
            )
            more = (
                f"; {more_in_words(each.more_queries)} would settle it" if each.more_queries else ""
            )
            answer += f"{more})"
        yield (
            f"Chunk size, for '{candidate}': passages of {each.passages} ('{each.collection}') "
            f"instead of {each.reference_passages} ('{each.reference}'): {each.metric} by document "
            f"{signed(each.difference)} [{signed(each.family_low)}, {signed(each.family_high)}], "
            f"n={each.n:,}: {answer}."
        )
