"""Plan: a suite turned into keyed stages, worked out without running or loading a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from harness.collection import Collection
from harness.errors import ExitCode, HarnessError, no_such
from harness.plan.candidates import Planner, Steps
from harness.plan.dense import Hub
from harness.plan.growing import Growing, grow
from harness.plan.kinds import BUILDERS
from harness.plan.kinds.query_model import own_queries
from harness.plan.rates import corrected
from harness.plan.scored_tasks import ScoredTasks, scored_tasks
from harness.plan.scoring import Scored, ScoreRun
from harness.retrieval.fusion import TunedFusion
from harness.retrieval.index import SearchIndex
from harness.retrieval.latency import EncodeQuery, RescoreQuery, Step, TimeAgain
from harness.retrieval.lengths import CountTokens, counts_of
from harness.retrieval.prefix_search import together
from harness.retrieval.reranking import CrossEncoderScorer, Rerank, ScorePairs
from harness.retrieval.run_stage import RunStage
from harness.retrieval.search import Search
from harness.runs.metrics import Metric
from harness.stage import Stage, Work
from harness.store import Store
from harness.suite.inputs import read_inputs, refuse_errors
from harness.suite.mteb_tasks import instructed, main_metrics, tasks_of
from harness.suite.spec import Suite
from harness.training.finetune import Interpolation, Train
from harness.training.mining import Examples
from harness.training.reranker import TrainReranker

_EXPORTED_CUTOFFS = (1, 3, 5, 10, 20, 100, 1000)


@dataclass(frozen=True)
class Plan:
    """All stages of a suite in an order in which each finds its inputs done.

    Attributes:
        suite: the question.
        store: where results lie.
        device: torch's name of the device that timings belong to.
        depth: ranks of every run.
        collections: by the suite's name, as they are judged.
        stages: in order; two with the same key are one.
        scored: stages of each (candidate, collection)'s scorecard, one for each training seed.
        steps: what answering a query takes, for each (candidate, collection).
        lengths: token counts of each (candidate whose own weights have a limit, collection).
        planner: what the candidates mean.
        growing: the parts of the examples that learning curves are drawn from, by candidate.
        tasks: the score of each (candidate, task of mteb that is no search).
    """

    suite: Suite
    store: Store
    device: str
    depth: int
    collections: Mapping[str, Collection]
    stages: tuple[Stage, ...]
    scored: Mapping[tuple[str, str], Scored]
    steps: Mapping[tuple[str, str], Steps]
    lengths: Mapping[tuple[str, str], tuple[CountTokens, ...]]
    planner: Planner
    growing: Mapping[str, Growing]
    tasks: ScoredTasks

    def waits_for(self, name: str | None = None) -> list[Stage]:
        """Return what is to be done before all stages can be planned: asking language models.

        Args:
            name: of a candidate that alone is to be trained; None for all.

        Raises:
            HarnessError: exit code 2, no such candidate.
        """
        tables = set(self.planner.asks)
        if name is not None:
            specs = [self.planner.suite.candidates[each] for each in self._made_of(name)]
            recipes = [spec.recipe for spec in specs if spec.recipe is not None]
            tables &= {table for recipe in recipes for table in recipe.data}
        asks = [ask for table, ask in self.planner.asks.items() if table in tables]
        return [ask for ask in asks if not ask.is_done(self.store)]

    def with_times_again(self) -> Plan:
        """Return the plan with every latency left to measure, whatever is stored."""
        stages = (TimeAgain(each) if isinstance(each, Step) else each for each in self.stages)
        return replace(self, stages=tuple(stages))

    def makes(self, name: str) -> list[Stage]:
        """Return what makes the weights of a candidate, once for each seed, in order.

        Raises:
            HarnessError: exit code 2, no such candidate, or nothing of it is trained here.
        """
        found = [stage for each in self._made_of(name) for stage in _making(self.planner, each)]
        if not found:
            raise HarnessError(
                f"{self.suite.where('candidates', name)}: candidate '{name}' is not trained here. "
                "Name one with finetune, or one derived from it.",
                exit_code=ExitCode.USAGE,
            )
        return found

    def _made_of(self, name: str) -> list[str]:
        """Return the replicas of a candidate and of its dependencies, parents first."""
        planner = self.planner
        if name not in self.suite.candidates:
            hint = no_such("candidate", name, self.suite.candidates)
            raise HarnessError(f"{self.suite.where()}: {hint}", exit_code=ExitCode.USAGE)
        wanted = set(planner.replicas.names[name])
        for each in reversed(planner.order):
            if each in wanted:
                wanted.update(planner.suite.candidates[each].needs)
        return [each for each in planner.order if each in wanted]

    def left(self) -> list[tuple[Stage, Work]]:
        """Return the stages that are not done, with what they have to do."""
        return self.works(stage for stage in self.stages if not stage.is_done(self.store))

    def works(self, stages: Iterable[Stage]) -> list[tuple[Stage, Work]]:
        """Return stages with what they have to do, at the rates that were seen on this device."""
        store, device = self.store, self.device
        return [
            (stage, corrected(stage, stage.work(store), store=store, device=device))
            for stage in stages
        ]


def make_plan(suite: Suite, store: Store, *, device: str, hub: Hub) -> Plan:
    """Work out the stages of a suite.

    Raises:
        HarnessError: a collection or a model is missing or broken, with all problems at once.
    """
    inputs = read_inputs(suite, store)
    refuse_errors(suite, inputs)
    mteb_tasks = tasks_of(inputs.raw)
    suite = instructed(suite, mteb_tasks)
    planner = Planner(suite, inputs, store, device=device, hub=hub, builders=BUILDERS)
    asked = (*suite.parsed_metrics(), *main_metrics(mteb_tasks))
    metrics = exported_metrics(asked, planner.depth)
    for name in planner.order:  # parents first, so that a long chain is never resolved by recursion
        for collection in suite.collections:
            planner.run_stage(name, collection).key(store)
            planner.steps(name, collection)
    scored = {
        (name, collection): Scored(
            tuple(
                ScoreRun(
                    planner.judged_run(replica, collection), inputs.collections[collection], metrics
                )
                for replica in planner.replicas.names[name]
            )
        )
        for collection in suite.collections
        for name in suite.candidates
    }
    steps = {place: planner.steps(*place) for place in scored}
    lengths = {
        (name, collection): counting
        for name in planner.owners()
        if name in suite.candidates and suite.candidates[name].has_weights
        for collection in suite.collections
        if (counting := counts_of(planner.encodes(name, collection), store))
    }
    growing = grow(planner, metrics)
    tasks = scored_tasks(planner)
    stages = [
        *planner.asks.values(),
        *_model_stages(planner, lengths, steps),
        *_run_stages(planner, store),
        *(each.run_stage for scores in scored.values() for each in scores.stages),
        *(stage for each in growing.values() for stage in each.stages()),
        *(step for each in steps.values() for step in each if step is not None),
        *(stage for each in scored.values() for stage in each.stages),
        *tasks.values(),
    ]
    return Plan(
        suite=suite,
        store=store,
        device=device,
        depth=planner.depth,
        collections=inputs.collections,
        stages=tuple(_each_once(stages, store)),
        scored=scored,
        steps=steps,
        lengths=lengths,
        planner=planner,
        growing=growing,
        tasks=tasks,
    )


def exported_metrics(metrics: tuple[Metric, ...], depth: int) -> tuple[Metric, ...]:
    """Return the suite's metrics, and their families at MTEB's cutoffs for the result files.

    ranx compiles a family once, whatever the cutoffs.
    """
    ranked = [metric for metric in metrics if not metric.in_tokens]
    families = dict.fromkeys(replace(metric, cutoff=1) for metric in ranked)
    cutoffs = [cutoff for cutoff in _EXPORTED_CUTOFFS if cutoff <= depth]
    more = [replace(family, cutoff=cutoff) for family in families for cutoff in cutoffs]
    return tuple(dict.fromkeys([*metrics, *more]))


def _model_stages(
    planner: Planner,
    lengths: Mapping[tuple[str, str], tuple[CountTokens, ...]],
    steps: Mapping[tuple[str, str], Steps],
) -> Iterator[Stage]:
    """Yield everything that needs one bi-encoder in memory, model after model."""
    for name in planner.owners():
        model = planner.models[name].model
        if isinstance(model, Train):
            yield from _mining(model.data)
        if isinstance(model, Train | Interpolation):
            yield model
        for collection, retrieving in planner.places().items():
            if all(
                planner.models[each].owner != name for each in retrieving if each in planner.models
            ):
                continue
            yield from lengths.get((name, collection), ())
            timed = steps.get((name, collection), ())
            yield from (each for each in timed if isinstance(each, EncodeQuery) and each.pays)
            yield from (*planner.encodes(name, collection), *own_queries(planner, name, collection))
            yield from (each for each in timed if isinstance(each, EncodeQuery))


def _run_stages(planner: Planner, store: Store) -> Iterator[Stage]:
    """Yield the runs by level: a cross-encoder scores when all its first stages are there."""
    candidates = planner.suite.candidates
    order = planner.order
    levels: dict[str, int] = {}
    for name in order:
        below = max((levels[other] for other in candidates[name].needs), default=0)
        levels[name] = below + candidates[name].scores_pairs
    for level in range(max(levels.values()) + 1):
        for collection, retrieving in planner.places().items():
            names = [name for name in retrieving if levels[name] == level]
            runs = [planner.run_stage(name, collection) for name in names]
            if collection in planner.collections:
                steps = [step for name in names for step in planner.steps(name, collection)]
                yield from (step for step in steps if isinstance(step, RescoreQuery) and step.pays)
            yield from _pair_stages(runs)
            searches = [run for run in runs if isinstance(run, Search)]
            yield from together(searches, store)
            for run in runs:
                yield from (each.built for each in run.leaves if isinstance(each, SearchIndex))
                if isinstance(run, TunedFusion):
                    yield from run.tuning.members  # of passages, what is folded for it
                    yield run.tuning
                yield run


def _making(planner: Planner, name: str) -> Iterator[Stage]:
    """Yield what makes the weights that a candidate itself brings."""
    stage = planner.own_weights(name)
    if isinstance(stage, Train):
        yield from _mining(stage.data)
    elif isinstance(stage, TrainReranker):
        yield from _mining(stage.examples)
    if stage is not None:
        yield stage


def _mining(examples: Examples) -> Iterator[Stage]:
    """Yield what mines the negatives of a training."""
    if examples.negatives is not None:
        yield from examples.negatives.inputs()
        yield examples.negatives


def _pair_stages(runs: list[RunStage]) -> Iterator[Stage]:
    """Yield one stage per cross-encoder, with the union of what these runs ask of it; before it,
    the training of one that the suite trains.
    """
    asked: dict[CrossEncoderScorer, list[tuple[RunStage, int]]] = {}
    for run in runs:
        if isinstance(run, Rerank) and isinstance(run.scorer, CrossEncoderScorer):
            asked.setdefault(run.scorer, []).append((run.first, run.depth))
    for scorer, firsts in asked.items():
        if isinstance(scorer.model, TrainReranker):
            yield from _mining(scorer.model.examples)
            yield scorer.model
        yield ScorePairs(scorer, tuple(firsts))


def _each_once(stages: list[Stage], store: Store) -> Iterator[Stage]:
    seen: set[tuple[type, str]] = set()
    for stage in dict.fromkeys(stages):  # stages are equal where they are one
        key = stage.key(store)
        if key is not None:
            if (type(stage), key) in seen:
                continue
            seen.add((type(stage), key))
        yield stage
