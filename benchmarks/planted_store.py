"""Planted store: a results folder as a run, a decision, a diagnosis and gates would leave it.

Texts, rankings and judgements are drawn at random; scores, comparisons and tables are computed from
them by the harness itself. It serves the benchmark of the app and its tests, at any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.collection import Collection, Judgements
from harness.diagnosis.files import QueryRows, rows_as_parquet
from harness.diagnosis.values import (
    CandidateDiagnosis,
    Counterfactual,
    DataHealth,
    Diagnosis,
    Exemplar,
    FailureCluster,
    Finding,
    GapSplit,
    LossStage,
    Reversal,
    ScoreBounds,
    StageCount,
    Unjudged,
)
from harness.output.history import record_run
from harness.output.inspection import write_inspection, write_per_query
from harness.results.comparison import Edge, Sizes, compare
from harness.results.gathering import card_scores
from harness.results.values import CandidateResult, CollectionResult, Cost, Costs, Results
from harness.runs.metrics import Scorecard, parse_metric, score
from harness.runs.run import Run, rank

METRICS = ("ndcg@10", "recall@100")
_TOPICS = ("dose", "symptom", "treatment", "cause", "diagnosis", "prevention", "outlook", "gene")
_WORDS = ("fever", "cough", "asthma", "migraine", "anaemia", "eczema", "gout", "measles", "lupus")


def make_collection(
    *, queries: int, documents: int, seed: int, name: str = "planted", texts: Sequence[str] = ()
) -> Collection:
    """Return a collection in which every query has one or two relevant documents.

    Args:
        queries: how many.
        documents: how many.
        seed: of what is drawn.
        name: of the collection.
        texts: of the first queries and the first documents; the others are drawn.
    """
    draw = np.random.default_rng(seed)
    width = len(str(max(queries, documents)))

    def drawn(count: int, length: int) -> list[str]:
        topics = draw.choice(_TOPICS, count)
        words = draw.choice(_WORDS, (count, length))
        return [f"the {topic} of {' '.join(row)}" for topic, row in zip(topics, words, strict=True)]

    query_texts = [*texts, *drawn(queries, 2)][:queries]
    document_texts = [*texts, *drawn(documents, 60)][:documents]
    second = np.flatnonzero(draw.random(queries) < 0.2)
    asked = np.concatenate([np.arange(queries), second]).astype(np.int32)
    answers = draw.permutation(max(documents, len(asked)))[: len(asked)] % documents
    order = np.argsort(asked, kind="stable")
    return Collection(
        name=name,
        split="test",
        document_ids=tuple(f"d{row:0{width}}" for row in range(documents)),
        documents=tuple(document_texts),
        query_ids=tuple(f"q{row:0{width}}" for row in range(queries)),
        queries=tuple(query_texts),
        judgements=Judgements(
            queries=asked[order],
            documents=answers[order].astype(np.int32),
            grades=draw.integers(1, 3, len(asked)).astype(np.int32),
        ),
    )


def make_run(texts: Collection, *, skill: float, ranks: int, seed: int) -> Run:
    """Return a run that puts relevant documents near the top, the nearer the better its skill."""
    draw = np.random.default_rng(seed)
    n, size = len(texts.query_ids), len(texts.document_ids)
    documents = draw.integers(0, size, (n, min(ranks, size))).astype(np.int32)
    if size <= ranks:
        documents = np.argsort(draw.random((n, size)), axis=1).astype(np.int32)
    scores = np.sort(draw.random(documents.shape), axis=1)[:, ::-1]
    judged = texts.judgements
    places = (draw.geometric(skill, len(judged.queries)) - 1) * 2
    for query, document, place in zip(
        judged.queries.tolist(), judged.documents.tolist(), places.tolist(), strict=True
    ):
        row = documents[query]
        row[row == document] = -1
        if place < len(row):
            row[place] = document
    for row in documents:  # a document is returned once
        _, first = np.unique(row, return_index=True)
        again = np.ones(len(row), dtype=np.bool_)
        again[first] = False
        row[again] = -1
    return rank(documents, scores, depth=ranks)


def write_store(  # noqa: PLR0913 - the dials of the store
    folder: Path,
    *,
    queries: int = 200,
    documents: int = 400,
    candidates: int = 4,
    ranks: int = 100,
    seed: int = 1,
    texts: Sequence[str] = (),
    names: Sequence[str] = (),
    collections: int = 1,
    diagnosed: int = 2,
) -> Results:
    """Write a results folder and return its results.

    Args:
        folder: to write.
        queries: of each collection.
        documents: of each.
        candidates: the first is the baseline, every third one derives from the one before.
        ranks: of every run.
        seed: of what is drawn.
        texts: of the first queries and documents.
        names: of the first candidates.
        collections: how many.
        diagnosed: candidates with a diagnosis, from the first; 0 for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = [*names, *(f"model-{number}" for number in range(len(names), candidates))][:candidates]
    parents = {name: named[place - 1] for place, name in enumerate(named) if place % 3 == 2}
    every = {
        f"planted-{number}": make_collection(
            queries=queries,
            documents=documents,
            seed=seed + number,
            name=f"planted-{number}",
            texts=texts,
        )
        for number in range(collections)
    }
    skills = np.linspace(0.25, 0.45, candidates)

    def runs(collection: str) -> Iterator[tuple[str, Run]]:
        for place, name in enumerate(named):
            skill, its_seed = float(skills[place]), seed + 100 * place
            yield name, make_run(every[collection], skill=skill, ranks=ranks, seed=its_seed)

    metrics = tuple(parse_metric(metric) for metric in METRICS)
    cards: dict[str, dict[str, Scorecard]] = {
        name: {
            candidate: score(run, texts.judgements, metrics, n_queries=len(texts.query_ids))
            for candidate, run in runs(name)
        }
        for name, texts in every.items()
    }
    results = _results(named, parents, every, cards, seed)
    _write(folder / "results.json", results.model_dump_json(indent=1))
    _write(folder / "costs.json", _costs(named, list(every)).model_dump_json(indent=1))
    _write(folder / "manifest.json", '{"suite": "planted", "said": {}}')
    listed = [(name, every[c], card) for c, found in cards.items() for name, card in found.items()]
    write_per_query(folder / "per_query.parquet", listed, METRICS)
    write_inspection(folder, every, runs)
    if diagnosed:
        _write_diagnosis(folder, named[:diagnosed], every, cards, seed)
    record_run(folder, results, version="0.1.0")
    return results


def _results(
    named: Sequence[str],
    parents: dict[str, str],
    every: dict[str, Collection],
    cards: dict[str, dict[str, Scorecard]],
    seed: int,
) -> Results:
    edges: list[Edge] = [(name, named[0], "baseline") for name in named[1:]]
    edges += [(name, parent, "parent") for name, parent in parents.items()]
    metrics = [parse_metric(metric) for metric in METRICS]
    comparisons = [
        comparison
        for name, found in cards.items()
        for comparison in compare(
            found, edges, metrics, collection=name, seed=seed, sizes=Sizes(gain=0.01, margin=0.01)
        )
    ]
    return Results(
        suite="planted",
        question="Which of the planted candidates is best?",
        baseline=named[0],
        metrics=list(METRICS),
        seed=seed,
        gain=0.01,
        margin=0.01,
        depth=100,
        collections=[_collection(texts) for texts in every.values()],
        candidates=[_candidate(name, parents) for name in named],
        scores=[
            score
            for collection, found in cards.items()
            for name, card in found.items()
            for score in card_scores(card, name, collection)
        ],
        comparisons=comparisons,
        overall=[],
        cuts=[],
        warnings=[],
    )


def _collection(texts: Collection) -> CollectionResult:
    return CollectionResult(
        name=texts.name,
        source="beir:planted",
        split="test",
        documents=len(texts.document_ids),
        queries=len(texts.query_ids),
        judgements=len(texts.judgements.grades),
        licence="",
        key=texts.key,
        clusters=None,
        warnings=[],
    )


def _candidate(name: str, parents: dict[str, str]) -> CandidateResult:
    derived = name in parents
    return CandidateResult(
        name=name,
        kind="truncate" if derived else "dense",
        change="first 64 dimensions" if derived else "planted",
        parents=[parents[name]] if derived else [],
        model=None,
        weights=None,
        dimension=64 if derived else 384,
        trained_widths=[],
        similarity="cosine",
        query_prompt="",
        document_prompt="",
        max_length=None,
    )


def _costs(named: Sequence[str], collections: Sequence[str]) -> Costs:
    return Costs(
        costs=[
            Cost(
                candidate=name,
                collection=collection,
                query_ms_p50=1.0 + place,
                query_ms_p95=2.0 + 1.5 * place,
                query_n=50,
                bytes_per_document=256.0 * (1 + place % 4),
                parameters=1_000_000 * (1 + place),
                documents_per_second=1_000.0,
                tokens_per_second=100_000.0,
                training_seconds=None,
                training_pairs=None,
                device="planted",
                date="2026-11-25",
                encoded_on="planted",
            )
            for collection in collections
            for place, name in enumerate(named)
        ]
    )


def _write_diagnosis(
    folder: Path,
    named: Sequence[str],
    every: dict[str, Collection],
    cards: dict[str, dict[str, Scorecard]],
    seed: int,
) -> None:
    parts: list[QueryRows] = []
    found: list[CandidateDiagnosis] = []
    health: list[DataHealth] = []
    for collection, texts in every.items():
        draw = np.random.default_rng(seed)
        centres = draw.normal(size=(8, 2)) * 4
        places = centres[draw.integers(0, 8, len(texts.query_ids))]
        places = places + draw.normal(size=places.shape)
        for name in named:
            rows, one = _diagnosed(name, texts, cards[collection][name], places, named)
            parts.append(rows)
            found.append(one)
        health.append(_health(texts, named, cards[collection]))
    made = Diagnosis(
        suite="planted",
        metric=METRICS[0],
        k=10,
        discovery="strict",
        candidates=found,
        data=health,
    )
    _write(folder / "diagnosis.json", made.model_dump_json(indent=1))
    (folder / "diagnosis.parquet").write_bytes(rows_as_parquet(parts))


def _diagnosed(
    name: str, texts: Collection, card: Scorecard, places: np.ndarray, named: Sequence[str]
) -> tuple[QueryRows, CandidateDiagnosis]:
    values = np.array(card.values[METRICS[0]])
    n = len(values)
    misses = values == 0
    stages: list[LossStage] = [
        "retrieved" if not miss else ("rerankable" if row % 3 else "lost")
        for row, miss in enumerate(misses.tolist())
    ]
    near = np.argsort(((places - places[0]) ** 2).sum(axis=1))[: max(n // 12, 2)]
    members = [texts.query_ids[row] for row in sorted(near.tolist())]
    missed = np.flatnonzero(misses)
    shown = [texts.query_ids[row] for row in missed[: max(len(missed) // 2, 1)].tolist()]
    clusters = []
    if n >= 50:
        clusters = [
            _cluster("c1", "loss", members, values, near, texts),
            _cluster("c2", "difference", members, values, near, texts, reference=named[0]),
            _cluster("c3", "documents", list(texts.document_ids[:9]), values, near, texts),
        ]
    rows = QueryRows(
        candidate=name,
        collection=texts.name,
        query_ids=texts.query_ids,
        stages=stages,
        ranks=[1 if not miss else 40 for miss in misses.tolist()],
        losses=1 - values,
        misses=misses,
        reasons=[["truncation"] if query in set(shown) else [] for query in texts.query_ids],
        places=places,
        clusters=["c1" if query in set(members) else "" for query in texts.query_ids],
    )
    counts = {stage: stages.count(stage) for stage in dict.fromkeys(stages)}
    ends = np.array(stages)
    lost = {stage: float((1 - values)[ends == stage].sum() / n) for stage in counts}
    mean = float(values.mean())
    return rows, CandidateDiagnosis(
        candidate=name,
        collection=texts.name,
        n=n,
        stages=[
            StageCount(stage=s, n=count, share=count / n, loss=lost[s])
            for s, count in counts.items()
        ],
        gap=GapSplit(
            achieved=mean,
            ordering_loss=0.7 * (1 - mean),
            first_stage_loss=0.3 * (1 - mean),
            depth=100,
        ),
        neutral="planted coordinates",
        detectable=f"With n={n}, a slice that fails with probability 0.75 shows from about 40 on.",
        clusters=clusters,
        findings=[_finding(shown, len(missed), n)] if len(missed) else [],
        space=None,
        training=None,
        warnings=[],
    )


def _cluster(
    key: str,
    mode: str,
    members: list[str],
    values: np.ndarray,
    rows: np.ndarray,
    texts: Collection,
    reference: str | None = None,
) -> FailureCluster:
    rest = np.delete(values, rows)
    query = texts.query_ids[int(rows[0])]
    return FailureCluster(
        key=key,
        mode=mode,
        reference=reference,
        region="topic",
        predicate="",
        label=["dose", "fever"],
        inside=["asthma"],
        n=len(members),
        share=len(members) / len(values),
        mean=float(values[rows].mean()),
        rest=float(rest.mean()) if len(rest) else 0.0,
        ratio=1.8,
        ratio_low=1.2,
        ratio_high=2.7,
        p_adjusted=0.004,
        impact=0.012,
        stability=0.81,
        reasons=["truncation"],
        exemplars=[
            Exemplar(
                query=query,
                role="typical",
                retrieved=list(texts.document_ids[:3]),
                relevant=list(texts.document_ids[3:4]),
                rank=40,
                margin=0.031,
            )
        ],
        members=members,
    )


def _finding(shown: list[str], misses: int, n: int) -> Finding:
    return Finding(
        reason="truncation",
        title="The answer lies beyond the model's limit",
        sentence=f"{len(shown)} of {misses} misses have their answer beyond 256 tokens.",
        lever="chunking",
        misses=misses,
        misses_with=len(shown),
        hits=n - misses,
        hits_with=(n - misses) // 10,
        odds_ratio=4.2,
        low=2.1,
        high=8.4,
        p_adjusted=0.001,
        status="confirmed",
        recoverable=0.02,
        counterfactual=Counterfactual(
            change="the best chunk embedded alone",
            tried=len(shown),
            failed=len(shown),
            recovered=len(shown) // 2,
            control_failed=len(shown),
            control_recovered=0,
            gain=0.31,
            low=0.22,
            high=0.4,
        ),
        queries=shown,
        evidence=dict.fromkeys(shown, "The answer begins at token 310 of 512."),
    )


def _health(texts: Collection, named: Sequence[str], cards: dict[str, Scorecard]) -> DataHealth:
    means = {name: float(np.mean(cards[name].values[METRICS[0]])) for name in named}
    return DataHealth(
        collection=texts.name,
        bounds=[
            ScoreBounds(candidate=name, mean=mean, low=0.8 * mean, high=min(1.0, 1.5 * mean))
            for name, mean in means.items()
        ],
        reversible=[
            Reversal(
                better=named[-1],
                worse=named[0],
                difference=0.02,
                unjudged=90,
                needed=5,
                sentence=f"'{named[-1]}' would no longer lead if 5 of 90 were relevant.",
            )
        ],
        unjudged=[
            Unjudged(
                query=texts.query_ids[row],
                document=texts.document_ids[row],
                rank=1,
                candidates=list(named),
                likelihood=0.5,
                why="Every candidate returns it first.",
            )
            for row in range(min(5, len(texts.query_ids)))
        ],
        duplicate_groups=[list(texts.document_ids[:2])],
        leaks=[],
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
