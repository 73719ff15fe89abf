"""Real worlds: runs of fast models on real collections, with planted mistakes and subsamples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from planted_kinds import NOT
from simulated_worlds import World

from harness.collection import Judgements
from harness.decision.gather import gather_situation
from harness.decision.holes import Contradiction, contradiction
from harness.decision.situation import Action, Health, Option, Situation
from harness.plan.execute import execute
from harness.plan.plan import Plan, make_plan
from harness.results.gathering import gather_costs
from harness.runs.metrics import Metric, parse_metric, score
from harness.runs.run import Run, rank
from harness.stage import Silent
from harness.store import Store
from harness.suite.load import load_suite

SHARED = Path(__file__).parents[2] / "shared"
SOURCES = {
    "scifact": f"beir:{SHARED}/data/scifact",
    "nq_utd": f"beir:{SHARED}/data/nq_utd",
    "pubmedqa": f"beir:{SHARED}/data/pubmedqa",
    "xquad": f"beir:{SHARED}/data/xquad/en",
    "medquad": f"beir:{SHARED}/data/medquad",
    "stdlib": "python:stdlib",
}
SUITE = """
name = "worlds"
metrics = ["ndcg@10"]
baseline = "wordllama"
[collections.c]
source = "{source}"
[candidates.wordllama]
model = "package:wordllama"
[candidates.potion]
model = "{shared}/models/potion-base-8M"
[candidates.bm25]
kind = "bm25"
[candidates.hybrid]
fuse = ["bm25", "potion"]
[candidates.cascade]
from = "wordllama"
rerank = {{ candidate = "potion", depth = 50 }}
[candidates."wordllama/248"]
from = "wordllama"
truncate = 248
[candidates."wordllama/16"]
from = "wordllama"
truncate = 16
"""
METRIC: Metric = parse_metric("ndcg@10")
MOVED = 0.4  # share of the queries whose judgements are moved to random documents
FEW = (30, 60)
GAIN, CLEAR = 0.01, 0.05  # a worthwhile gain, and one that a third of the queries must show
ENOUGH = 500
NEW = frozenset({Action.SWITCH, Action.FUSE, Action.RERANK})


@dataclass(frozen=True, eq=False)
class Real:
    """A collection with the runs of every candidate, and the situation as it is."""

    name: str
    plan: Plan
    situation: Situation

    def run(self, candidate: str) -> Run:
        """Return a candidate's run."""
        return self.plan.scored[candidate, "c"].run_stage.result(self.plan.store)

    @property
    def judgements(self) -> Judgements:
        """The judgements as they are."""
        return self.plan.collections["c"].judgements

    def values(self, run: Run, judgements: Judgements) -> np.ndarray:
        """Return the metric of every query."""
        n = len(self.plan.collections["c"].queries)
        found: np.ndarray = score(run, judgements, [METRIC], n_queries=n).values[str(METRIC)]
        return found


def real(store: Store) -> Iterator[World]:
    """Yield the worlds of every collection; what the store holds already is not run again."""
    for name, source in SOURCES.items():
        found = _finished(name, source, store)
        yield World(
            "untouched judgements",
            name,
            found.situation,
            _not_the_data(),
            why="published judgements, and no mistake in how the models are run",
        )
        yield _moved_judgements(found)
        yield from _truncations(found)
        yield from _samples(found)
        yield _switch(found)
        yield _degraded(found)


def _finished(name: str, source: str, store: Store) -> Real:
    plan = finished(SUITE, source, store)
    return Real(name, plan, gather_situation(plan, gather_costs(plan)))


def finished(suite: str, source: str, store: Store) -> Plan:
    """Return the finished plan of a suite with one collection, "c", from a source."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "worlds.toml"
        path.write_text(suite.format(source=source, shared=SHARED))
        plan = make_plan(load_suite(path), store, device="cpu", hub="refuse")
        execute(plan, progress=Silent())
        return plan


def _not_the_data() -> frozenset[Action]:
    """Return all verdicts but the one that blames the data of a collection as published."""
    return frozenset(Action) - {Action.FIX_DATA, Action.FIX_PIPELINE}


def _moved_judgements(found: Real) -> World:
    """Move the judgements of two queries in five to random documents."""
    rng = np.random.default_rng(1)
    judged, collection = found.judgements, found.plan.collections["c"]
    is_moved = (rng.random(len(collection.queries)) < MOVED)[judged.queries]
    anywhere = rng.integers(0, len(collection.documents), len(judged.documents))
    documents = np.where(is_moved, anywhere, judged.documents).astype(np.int32)
    moved = Judgements(judged.queries, documents, judged.grades)
    base = found.values(found.run("wordllama"), moved)
    options = tuple(
        replace(option, differences=(found.values(found.run(option.name), moved) - base,))
        for option in found.situation.options
    )
    dense = [found.run(name) for name in ("wordllama", "potion")]
    counts = contradiction([found.run("bm25")], dense, moved, n_documents=len(collection.documents))
    situation = replace(
        found.situation,
        scores=(base,),
        options=options,
        health=replace(found.situation.health, contradiction=counts),
    )
    return World(
        "judgements moved",
        found.name,
        situation,
        frozenset({Action.FIX_DATA}),
        why="two in five are moved to random documents",
    )


def _truncations(found: Real) -> Iterator[World]:
    """Yield a truncation to nearly all dimensions, and one to a sixteenth, each by itself."""
    short = frozenset({Action.TRUNCATE})
    nearly = short if found.situation.n_queries >= ENOUGH else short | {Action.UNDECIDED}
    for width, right, why in (
        (248, nearly, f"3% of the width; fewer than {ENOUGH} queries may not show it"),
        (16, NOT, "a sixteenth of the width"),
    ):
        [option] = [each for each in found.situation.options if each.width == width]
        situation = replace(found.situation, options=(option,))
        yield World(f"truncation to {width} of 256", found.name, situation, right, why=why)


def _samples(found: Real) -> Iterator[World]:
    """Yield random subsamples; the differences over all queries are taken for the truth."""
    options = [option for option in found.situation.options if option.width is None]
    truth = {option.name: float(option.differences[0].mean()) for option in options}
    gains = {name for name, mean in truth.items() if mean >= GAIN}
    total = found.situation.n_queries
    best = max(truth, key=lambda name: truth[name])
    for n in sorted({*FEW, total // 3}):
        rows = np.random.default_rng(n).permutation(total)[:n]
        clear = truth[best] >= CLEAR and n not in FEW
        yield World(
            kind="a random sample of the queries",
            name=f"{found.name}, {n} of {total:,}",
            situation=_sampled(found.situation, options, rows),
            right=(NEW if clear else NEW | {Action.UNDECIDED}) if gains else NOT,
            taken=frozenset(gains),
            leaning=n in FEW,
            why=f"over all queries '{best}' is best, by {truth[best]:+.3f}",
        )


def _switch(found: Real) -> World:
    """Ask for one model against another on half of the queries."""
    [option] = [option for option in found.situation.options if option.name == "potion"]
    truth, total = float(option.differences[0].mean()), found.situation.n_queries
    rows = np.random.default_rng(0).permutation(total)[: total // 2]
    right = frozenset({Action.SWITCH, Action.UNDECIDED}) if truth >= GAIN else NOT
    return World(
        kind="one model against another, half of the queries",
        name=f"{found.name}, {len(rows)} of {total:,}",
        situation=_sampled(found.situation, [option], rows),
        right=right - {Action.UNDECIDED} if truth >= CLEAR else right,
        why=f"over all queries 'potion' differs by {truth:+.3f}",
    )


def _sampled(situation: Situation, options: Sequence[Option], rows: np.ndarray) -> Situation:
    return replace(
        situation,
        scores=(situation.scores[0][rows],),
        options=tuple(replace(each, differences=(each.differences[0][rows],)) for each in options),
        health=_sampled_health(situation.health, len(rows) / situation.n_queries),
    )


def _sampled_health(health: Health, share: float) -> Health:
    counts = health.contradiction
    if counts is None:
        return health
    scaled = Contradiction(int(counts.agreed * share), int(counts.contradicted * share))
    return replace(health, contradiction=scaled)


def _degraded(found: Real) -> World:
    """Shuffle the first fifty documents of the baseline; what undoes it is a reranker."""
    original = found.run("wordllama")
    rng = np.random.default_rng(2)
    first = np.array(original.documents[:, :50])
    shuffled = rank(first, rng.random(first.shape), depth=50)
    base = found.values(shuffled, found.judgements)
    restored = Option(
        "restored",
        Action.RERANK,
        (found.values(original, found.judgements) - base,),
    )
    situation = replace(found.situation, scores=(base,), options=(restored,))
    return World(
        "order shuffled on purpose",
        found.name,
        situation,
        frozenset({Action.RERANK}),
        frozenset({"restored"}),
        why="the first 50 documents are shuffled, and the option has them in order",
    )
