"""Kinds of worlds: what is planted in each, by its truth, and which verdicts are right."""

from __future__ import annotations

from typing import Any, NamedTuple

from harness.decision.holes import Holes, Pair
from harness.decision.situation import Action, Health
from harness.runs.headroom import Gap
from harness.suite.spec import DecisionSpec

NOT = frozenset({Action.KEEP, Action.UNDECIDED})
CONTRADICTED = 0.4  # share of contradicted judgements where labels are wrong


class Planted(NamedTuple):
    """An option by its truth: the share of queries that it changes, and the mean gain."""

    name: str
    action: Action
    gain: float
    changed: float = 0.3
    others: tuple[tuple[str, Any], ...] = ()


def switch(name: str, gain: float, changed: float = 0.3, **others: Any) -> Planted:
    """Return another model."""
    return Planted(name, Action.SWITCH, gain, changed, tuple(others.items()))


def cut(width: int, gain: float, changed: float, of: str = "base") -> Planted:
    """Return a truncation."""
    others = (("shortens", of), ("width", width))
    return Planted(f"{of}/{width}", Action.TRUNCATE, gain, changed, others)


RERANK, FUSE, TUNE, FIX = Action.RERANK, Action.FUSE, Action.FINE_TUNE, Action.FIX_PIPELINE
QUEUE = tuple(Pair(query, query, 1) for query in range(50))
UNMEASURED = ("The p95 latency is not measured, and the budget is 20 ms.",)
SLOW = (("over_budget", ("The p95 latency of 90 ms exceeds the budget of 50.",)),)
LEAK = (("leaked", ("It was trained on the test queries.",)),)
COSTLY_CUT = cut(64, -0.08, 0.4)


class Kind(NamedTuple):
    """Worlds of one kind: options, sizes, what is right, and what differs from the usual.

    `warned` must stand in a warning of the verdict.
    """

    name: str
    planted: tuple[Planted, ...]
    sizes: tuple[tuple[int, ...], ...]
    right: frozenset[Action]
    taken: tuple[str, ...] = ()
    leaning: bool = False
    others: tuple[tuple[str, Any], ...] = ()
    why: str = ""
    warned: str = ""


def one(action: Action) -> frozenset[Action]:
    """Return the set of one right action."""
    return frozenset({action})


KINDS = (
    Kind(
        "a reranker recovers the order",
        (Planted("reranked", RERANK, 0.12, 0.4), switch("other", 0.0), COSTLY_CUT),
        ((300,), (1000,)),
        one(RERANK),
        ("reranked",),
        others=(("gap", Gap(0.5, 0.4, 0.1, 100)),),
        why="the only option that gains",
    ),
    Kind(
        "a reranker does harm",
        (Planted("reranked", RERANK, -0.06, 0.4), switch("other", -0.05)),
        ((1500,),),
        one(Action.KEEP),
        why="all lose, and 1,500 queries show it, although the order is half of the loss",
    ),
    Kind(
        "truncation costs nothing",
        (cut(256, 0.0, 0.01), cut(128, -0.0005, 0.02), COSTLY_CUT, switch("other", -0.05)),
        ((1500,), (4000,)),
        one(Action.TRUNCATE),
        ("base/256", "base/128"),
        why="256 and 128 lose at most 0.0005, 64 loses 0.08",
    ),
    Kind(
        "truncation costs much",
        (COSTLY_CUT, cut(16, -0.25, 0.6), switch("other", -0.08)),
        ((1000,), (2000,)),
        one(Action.KEEP),
        why="every width loses 0.08 or more",
    ),
    Kind(
        "a switch is better",
        (switch("better", 0.1), switch("same", 0.0), switch("worse", -0.05), COSTLY_CUT),
        ((300,), (1000,)),
        one(Action.SWITCH),
        ("better",),
        why="gains 0.1, the others nothing",
    ),
    Kind(
        "a switch is three points better",
        (switch("better", 0.03, 0.25), switch("worse", -0.03)),
        ((1500,), (3000,)),
        one(Action.SWITCH),
        ("better",),
        why="gains 0.03, the other loses as much",
    ),
    Kind(
        "a switch is better, and shorter vectors do",
        (
            switch("better", 0.12),
            switch("worse", -0.05),
            Planted("better/64", Action.SWITCH, 0.05, 0.3, (("shortens", "better"), ("width", 64))),
        ),
        ((600,),),
        one(Action.SWITCH),
        ("better",),
        why="gains 0.12; its truncation loses 0.07 of them",
    ),
    Kind(
        "only fine-tuning closes the gap",
        (
            Planted("tuned", TUNE, 0.12, 0.4),
            switch("general", -0.03),
            switch("larger", 0.0),
            Planted("reranked", RERANK, -0.02, 0.4),
        ),
        ((300,), (1000,)),
        one(TUNE),
        ("tuned",),
        why="no general model gains",
    ),
    Kind(
        "fine-tuning and a switch are alike",
        (switch("better", 0.1), Planted("tuned", TUNE, 0.1, 0.3)),
        ((300,), (1000,)),
        one(Action.SWITCH),
        ("better",),
        why="the cheaper of two equal gains",
    ),
    Kind(
        "fine-tuning is clearly better than a switch",
        (switch("better", 0.04, 0.2), Planted("tuned", TUNE, 0.18, 0.4)),
        ((400,), (1000,)),
        one(TUNE),
        ("tuned",),
        why="0.14 more than the switch",
    ),
    Kind(
        "fusion helps",
        (Planted("hybrid", FUSE, 0.07, 0.25), switch("bm25", -0.08, 0.4)),
        ((500,), (1500,)),
        one(FUSE),
        ("hybrid",),
        why="the only option that gains",
    ),
    Kind(
        "wrong labels",
        (switch("better", 0.1), COSTLY_CUT),
        ((150,), (300,), (1000,)),
        one(Action.FIX_DATA),
        others=(("wrong", CONTRADICTED),),
        why="two judgements in five are contradicted",
    ),
    Kind(
        "some labels are wrong",
        (switch("better", 0.05), switch("worse", -0.03)),
        ((1500,),),
        one(Action.FIX_DATA),
        others=(("wrong", 0.24),),
        why="one judgement in four is contradicted, the limit is 0.15",
    ),
    Kind(
        "a forgotten prompt, tried",
        (Planted("prompted", FIX, 0.08, 0.25), switch("better", 0.08)),
        ((400,), (1000,)),
        one(FIX),
        ("prompted",),
        why="the same weights gain as much as a switch",
    ),
    Kind(
        "a forgotten prompt, known",
        (switch("better", 0.1),),
        ((300,),),
        one(FIX),
        others=(("health", Health(pipeline=("'base' was run without its prompts.",))),),
        why="the mistake is known and nothing without it was measured",
    ),
    Kind(
        "half of the run is missing",
        (switch("better", 0.3),),
        ((300,),),
        one(FIX),
        others=(("health", Health(missing=0.5)),),
        why="scores of half a run say nothing",
    ),
    Kind(
        "no difference, many queries",
        (switch("other", 0.0, 0.06), switch("worse", -0.02, 0.1)),
        ((8000,),),
        one(Action.KEEP),
        why="no gain, and 8,000 queries show it",
    ),
    Kind(
        "a gain too small to matter, many queries",
        (switch("other", 0.002, 0.05), COSTLY_CUT),
        ((8000,),),
        one(Action.KEEP),
        why="0.002 is below the worthwhile 0.01",
    ),
    Kind(
        "no difference, too few queries to tell",
        (switch("other", 0.0), switch("third", 0.0, 0.4), Planted("hybrid", FUSE, 0.0, 0.2)),
        ((300,), (1000,)),
        NOT,
        why="no option gains",
    ),
    Kind(
        "few queries, five options alike",
        tuple(switch(f"other{place}", 0.0) for place in range(5)),
        ((20,), (40,), (80,)),
        one(Action.UNDECIDED),
        leaning=True,
        why="no option gains, and the best of five looks well by chance",
    ),
    Kind(
        "few queries, a small gain",
        (switch("better", 0.03), switch("worse", -0.05), cut(128, -0.002, 0.05)),
        ((20,), (40,), (80,)),
        frozenset({Action.UNDECIDED, Action.SWITCH}),
        ("better",),
        leaning=True,
        why="a true gain that few queries can not show",
    ),
    Kind(
        "few queries, a small loss",
        (switch("worse", -0.03), Planted("tuned", TUNE, -0.01), cut(32, -0.03, 0.3)),
        ((20,), (40,), (80,)),
        NOT,
        leaning=True,
        why="no option gains",
    ),
    Kind(
        "few queries, a very large gain",
        (switch("better", 0.35, 0.8),),
        ((40,), (80,)),
        frozenset({Action.UNDECIDED, Action.SWITCH}),
        ("better",),
        why="0.35, which 80 queries can show",
    ),
    Kind(
        "everything is over budget",
        (
            Planted("slow", Action.SWITCH, 0.15, 0.3, SLOW),
            Planted("reranked", RERANK, 0.1, 0.3, SLOW),
        ),
        ((300,),),
        one(Action.KEEP),
        why="nothing may be taken",
    ),
    Kind(
        "the best is over budget",
        (Planted("slow", Action.SWITCH, 0.2, 0.4, SLOW), switch("better", 0.1)),
        ((400,),),
        one(Action.SWITCH),
        ("better",),
        why="the best within the budgets",
    ),
    Kind(
        "a fine-tune has seen the test queries",
        (Planted("tuned", TUNE, 0.3, 0.7, LEAK), switch("other", -0.06)),
        ((600,), (1500,)),
        NOT,
        why="the only gain is memory",
    ),
    Kind(
        "three collections, a switch is better",
        (switch("better", 0.08), switch("worse", -0.03)),
        ((300, 150, 500),),
        one(Action.SWITCH),
        ("better",),
        why="gains 0.08 on each",
    ),
    Kind(
        "three collections, no gain",
        (switch("other", -0.02), Planted("hybrid", FUSE, 0.0, 0.2)),
        ((300, 150, 500), (25, 25, 25)),
        NOT,
        leaning=True,
        why="no option gains",
    ),
    Kind(
        "ten options, none gains",
        tuple(switch(f"other{place}", 0.0, 0.4) for place in range(10)),
        ((60,), (200,), (1000,)),
        NOT,
        why="the best of ten looks well by chance",
    ),
    Kind(
        "twenty-five options, none gains",
        tuple(switch(f"other{place}", 0.0, 0.4) for place in range(25)),
        ((60,), (300,)),
        NOT,
        why="the best of 25 looks well by chance",
    ),
    Kind(
        "ten options, one gains much",
        (
            switch("better", 0.15, 0.4),
            *(switch(f"other{place}", 0.0, 0.4) for place in range(9)),
        ),
        ((300,), (1000,)),
        one(Action.SWITCH),
        ("better",),
        why="gains 0.15, the nine others nothing",
    ),
    Kind(
        "only the results of the baseline are judged",
        (switch("other", -0.2, 0.6, holes=(Holes((1.0, 0.1), 0.4, QUEUE),)),),
        ((300,), (1000,)),
        one(Action.FIX_DATA),
        why="what the option returns is unjudged, and may be relevant",
        warned="10% of its first results are judged",
    ),
    Kind(
        "only the results of the option are judged",
        (switch("other", 0.2, 0.6, holes=(Holes((0.1, 1.0), -0.4, QUEUE),)),),
        ((300,), (1000,)),
        one(Action.FIX_DATA),
        why="what the baseline returns is unjudged, and may be relevant",
        warned="10% of the baseline's.",
    ),
    Kind(
        "few results are judged, of both alike",
        (switch("better", 0.15, 0.4, holes=(Holes((0.06, 0.08)),)),),
        ((300,), (1000,)),
        one(Action.SWITCH),
        ("better",),
        why="unjudged documents speak for neither",
    ),
    Kind(
        "a switch destroys queries",
        (switch("better", 0.12, 0.6),),
        ((1000,),),
        one(Action.SWITCH),
        ("better",),
        why="gains 0.12 in the mean, and loses answers on the way",
        warned="Severe losses",
    ),
    Kind(
        "a switch destroys more queries than may be",
        (switch("better", 0.12, 0.6),),
        ((1000,),),
        one(Action.KEEP),
        others=(("spec", DecisionSpec(severe_losses_any_change=0.02)),),
        why="more than 2% lose 0.5 or more, the cap of every change",
    ),
    Kind(
        "a budget on something that was not measured",
        (switch("better", 0.15, 0.4, unmeasured=UNMEASURED), switch("worse", -0.05)),
        ((400,), (1000,)),
        one(Action.UNDECIDED),
        why="the only gain may be beyond the budget",
        warned="not measured",
    ),
)
