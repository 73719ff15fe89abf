"""Small results, made from the means of their candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.results.comparison import Comparison, Role
from harness.results.values import CandidateResult, CollectionResult, Cost, Costs, Results, Score
from harness.statistics.verdicts import Verdict


def candidate(
    name: str,
    *,
    kind: str = "dense",
    parents: Sequence[str] = (),
    dimension: int | None = None,
    trained: Sequence[int] = (),
) -> CandidateResult:
    """Return a candidate of which nothing else matters."""
    return CandidateResult(
        name=name,
        kind=kind,
        change=f"how {name} is made",
        parents=list(parents),
        model=None,
        weights=None,
        dimension=dimension,
        trained_widths=list(trained),
        similarity=None,
        query_prompt=None,
        document_prompt=None,
        max_length=None,
    )


def results(
    candidates: Sequence[CandidateResult],
    means: Mapping[str, float],
    *,
    metrics: Sequence[str] = ("ndcg@10", "recall@100"),
    collections: Sequence[str] = ("scifact",),
    half: float = 0.02,
    n: int = 300,
    missing: int = 0,
) -> Results:
    """Return results with the first candidate as the baseline.

    Args:
        candidates: in the suite's order.
        means: by candidate, the same in every metric and collection.
        half: half the width of every interval.
        n: judged queries.
        missing: queries without results, of every candidate.
    """
    baseline = candidates[0].name
    edges: list[tuple[str, str, Role]] = [(c.name, baseline, "baseline") for c in candidates[1:]]
    edges += [(c.name, parent, "parent") for c in candidates for parent in c.parents]
    places = [(collection, metric) for collection in collections for metric in metrics]
    return Results(
        suite="small",
        question="Which one?",
        baseline=baseline,
        metrics=list(metrics),
        seed=13,
        gain=0.01,
        margin=0.01,
        depth=100,
        collections=[_collection(name, n) for name in collections],
        candidates=list(candidates),
        scores=[
            Score(
                candidate=c.name,
                collection=collection,
                metric=metric,
                mean=means[c.name],
                low=means[c.name] - half,
                high=means[c.name] + half,
                n=n,
                judged_at_10=0.25,
                missing=missing,
            )
            for collection, metric in places
            for c in candidates
        ],
        comparisons=[
            _comparison(edge, collection, metric, means, half, n)
            for collection, metric in places
            for edge in edges
        ],
        overall=[],
        cuts=[],
        warnings=[],
    )


def cost(name: str, *, milliseconds: float | None, size: float | None) -> Cost:
    """Return what a candidate costs on scifact."""
    return Cost(
        candidate=name,
        collection="scifact",
        query_ms_p50=milliseconds,
        query_ms_p95=milliseconds,
        query_n=40,
        bytes_per_document=size,
        parameters=22_713_216,
        documents_per_second=None,
        tokens_per_second=None,
        training_seconds=None,
        training_pairs=None,
        device="one CPU",
        date="2026-11-23",
        encoded_on=None,
    )


NO_COSTS = Costs(costs=[])

TREE = [
    candidate("minilm", dimension=384, trained=[384, 128]),
    candidate("bm25", kind="bm25"),
    candidate("minilm/128", kind="truncate", parents=["minilm"], dimension=128, trained=[384, 128]),
    candidate("tuned", kind="finetune", parents=["minilm"], dimension=384, trained=[384]),
    candidate("tuned/128", kind="truncate", parents=["tuned"], dimension=128, trained=[384]),
    candidate("hybrid", kind="fuse", parents=["bm25", "tuned"]),
]
MEANS = {
    "minilm": 0.40,
    "bm25": 0.39,
    "minilm/128": 0.35,
    "tuned": 0.50,
    "tuned/128": 0.46,
    "hybrid": 0.49,
}
COSTS = Costs(
    costs=[
        cost(name, milliseconds=0.5 + place, size=4.0 * (128 if name.endswith("128") else 384))
        for place, name in enumerate(MEANS)
    ]
)


def _collection(name: str, n: int) -> CollectionResult:
    return CollectionResult(
        name=name,
        source=f"beir:{name}",
        split="test",
        documents=5183,
        queries=n,
        judgements=339,
        licence="",
        key="0",
        clusters=None,
        warnings=[],
    )


def _comparison(
    edge: tuple[str, str, Role],
    collection: str,
    metric: str,
    means: Mapping[str, float],
    half: float,
    n: int,
) -> Comparison:
    name, reference, role = edge
    difference = means[name] - means[reference]
    return Comparison(
        candidate=name,
        reference=reference,
        role=role,
        collection=collection,
        metric=metric,
        n=n,
        candidate_mean=means[name],
        reference_mean=means[reference],
        difference=difference,
        low=difference - half,
        high=difference + half,
        p=9.999e-05 if abs(difference) > half else 0.3,
        family_low=difference - half,
        family_high=difference + half,
        p_adjusted=9.999e-05 if abs(difference) > half else 0.3,
        p_holm=9.999e-05 if abs(difference) > half else 0.3,
        verdict=_verdict(difference, half),
        more_queries=0 if abs(difference) > half else 700,
        p_gain=float(difference > 0),
        p_loss=float(difference < 0),
        wins=20,
        ties=n - 30,
        losses=10,
        effect_size=0.1,
        mde=math.inf if math.isinf(half) else 1.43 * half,
        severe=0.01,
        worst_decile=-0.2,
        u_risk=difference,
        t_risk=1.0,
    )


def _verdict(difference: float, half: float) -> Verdict:
    if abs(difference) <= half:
        return Verdict.INCONCLUSIVE
    return Verdict.BETTER if difference > 0 else Verdict.WORSE
