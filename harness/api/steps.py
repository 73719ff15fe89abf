"""Steps: what the verbs of a suite share, and where they show their progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from harness.errors import ExitCode, HarnessError
from harness.progress import make_console
from harness.store import default_store, folder_or_url

if TYPE_CHECKING:
    from harness.cluster.pool import Wanted
    from harness.decision.situation import Situation
    from harness.decision.verdict import Decision
    from harness.output.receipts import Receipt
    from harness.plan.plan import Plan
    from harness.results.values import Costs, Results
    from harness.runs.run import Run
    from harness.store import Store
    from harness.suite.spec import Suite

Place = str | Path
_COSTS, _DECISION = "costs.json", "decision.json"


class Session:
    """A suite with the places and options of its runs.

    Attributes:
        spec: the session.
        store: folder or URL of what is computed; None takes $HARNESS_STORE, else ./.harness.
        folder: of results; None takes ./results/NAME.
        device: "cpu", "cuda", "cuda:1", or "auto": a GPU where there is one.
        offline: never contact the model hub.
        console: where it is shown what is done and how far it is.
    """

    def __init__(
        self,
        spec: Suite,
        *,
        store: Place | None,
        results: Place | None,
        device: str,
        offline: bool,
        progress: bool,
    ) -> None:
        self.spec = spec
        self.store = default_store() if store is None else folder_or_url(store)
        self.folder = Path(results) if results is not None else Path("results") / spec.name
        self.device = device
        self.offline = offline
        self.console = make_console(quiet=not progress)

    @property
    def name(self) -> str:
        """Names the folder of the results."""
        return self.spec.name


SessionT = TypeVar("SessionT", bound=Session)


def receipt_of(session: Session) -> Receipt:
    """Return what is remembered of a suite; to be called before any of its files is read."""
    from harness.output.receipts import Receipt

    return Receipt(
        session.spec.path,
        store=session.store,
        results=session.folder,
        device=session.device,
        offline=session.offline,
        limit=session.spec.limit,
    )


def planner(session: Session, store: Store, *, hub: str) -> Callable[[], Plan]:
    """Return what plans all stages of a suite, from what the store holds by then."""
    from harness.environment import resolve_device
    from harness.plan.dense import Hub
    from harness.plan.plan import make_plan

    device = resolve_device(session.device)
    return partial(make_plan, session.spec, store, device=device, hub=cast("Hub", hub))


def prepare(session: Session, candidate: str | None = None) -> Plan:
    """Plan all stages; a language model that writes training data is asked first.

    Args:
        session: what is planned.
        candidate: the only one to train; None for all.
    """
    source = session.spec.path if session.spec.has_file else f"suite '{session.name}'"
    say(session, f"Reading {source} and its collections …")  # before anything that takes a second
    if session.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    from harness.plan.execute import prepared
    from harness.progress import watch
    from harness.shared_store import store_at

    store = store_at(session.store)
    store.lease()
    make = planner(session, store, hub="refuse" if session.offline else "fetch")
    return prepared(make, progress=watch(session.console), candidate=candidate)


def run_left(session: Session, made: Plan, wanted: Wanted | None = None) -> str:
    """Say what is left of a plan, do it, and return how long it was planned to take, or "".

    Args:
        session: that shows the progress.
        made: the plan.
        wanted: the cluster that does it; None for this process.

    Raises:
        HarnessError: as of `execute`, or there is no such cluster.
    """
    from harness.plan.execute import execute
    from harness.progress import watch
    from reports import plan_view

    left, progress = made.left(), watch(session.console)
    if wanted is None:
        session.console.print(plan_view.in_a_sentence(made, left), highlight=False)
        execute(made, progress=progress)
        return plan_view.duration_of(made, left) if left else ""
    from harness.cluster.forecast import forecast
    from harness.cluster.pool import Cluster

    planned = plan_view.duration_on(forecast(made, wanted)) if left else ""
    session.console.print(plan_view.in_a_sentence(made, left, planned), highlight=False)
    with closing(Cluster(wanted, made, say=partial(say, session))) as cluster:
        execute(made, progress=progress, run=cluster.run)
    return planned


def run_some(session: Session, made: Plan, suite: Suite, *, timed: bool) -> Plan:
    """Run a part of the suite of a plan, and return its plan.

    Args:
        session: that shows the progress.
        made: the plan of all.
        suite: the part.
        timed: measure latency, too.
    """
    from harness.plan.execute import execute
    from harness.plan.plan import make_plan
    from harness.progress import watch
    from harness.retrieval.latency import Step

    hub = made.planner.hub
    part = make_plan(suite, made.store, device=made.device, hub=hub)
    stages = [each for each in part.stages if timed or not isinstance(each, Step)]
    execute(part, progress=watch(session.console), stages=stages)
    return part


def wanted_of(on: str | None, workers: int | None, gpus: float | None) -> Wanted | None:
    """Return the cluster that a user names; None for this process.

    Raises:
        HarnessError: exit code 2, it is none.
    """
    if on is None:
        if workers is not None or gpus is not None:
            raise HarnessError(
                "--workers and --gpus-per-worker belong to a cluster. Add --on ray "
                '(in Python: on="ray").',
                exit_code=ExitCode.USAGE,
            )
        return None
    from harness.cluster.pool import Wanted

    return Wanted(on, workers, gpus)


class Ran(NamedTuple):
    """The part of a plan that has every result.

    Attributes:
        plan: of the candidates and collections that are left.
        failed: a sentence for each candidate or collection that is left out, and the reasons.
        planned: how long it was planned to take, or "".
    """

    plan: Plan
    failed: list[str]
    planned: str


def run_partly(
    session: Session, made: Plan, *, time_again: bool = False, wanted: Wanted | None = None
) -> Ran:
    """Do what is left of a plan; where stages fail, continue with what does not need them.

    Raises:
        HarnessError: as of `execute`, where nothing is left to compare.
    """
    from harness.plan.execute import StagesFailedError
    from harness.plan.partial import partial as rest_of

    try:
        wholly = made.with_times_again() if time_again else made
        return Ran(made, [], run_left(session, wholly, wanted))
    except StagesFailedError as error:
        rest = rest_of(made, error)
        for each in error.tracebacks:
            sys.stderr.write(f"{each}\n")
        return Ran(rest.plan, rest.failed, "")


def say(session: Session, line: str) -> None:
    """Print a line where the suite shows its progress, whatever its width."""
    session.console.print(line, highlight=False, soft_wrap=True)


def warn(session: Session, warnings: Iterable[str]) -> None:
    """Print warnings where the suite shows its progress."""
    for warning in warnings:
        session.console.print(f"Warning: {warning}", highlight=False, markup=False)


def refuse_folder(session: Session) -> None:
    """Raise if results must not take the place of what the results folder holds.

    Raises:
        HarnessError: exit code 2.
    """
    from harness.output.folder import refuse_other_results as refuse
    from harness.shared_store import store_at

    refuse(session.folder, session.spec, store=store_at(session.store).root)


def write_results(session: Session, made: Plan, found: Results, costs: Costs) -> None:
    """Write the whole folder: results, the diagnosis where one is stored, and the reports."""
    from harness.diagnosis.diagnose import find_diagnosis, read_diagnosis
    from harness.output.files import write_diagnosis, write_outputs
    from reports.written import write_reports

    same_times = _same_times(session, costs)

    def finish_folder(new: Path) -> None:
        looked = find_diagnosis(made)
        if looked is not None:
            write_diagnosis(looked, read_diagnosis(looked), new)
        if (new / _DECISION).is_file() and not same_times:
            write_decision(session, made, costs, failed=found.failed, into=new)
        write_reports(new)

    for stale in write_outputs(made, found, costs, session.folder, finish=finish_folder):
        say(session, stale)


def write_decision(
    session: Session, made: Plan, costs: Costs, *, failed: list[str], into: Path | None = None
) -> Decision:
    """Apply the decision rules, and write the verdict and the documents to judge first.

    Args:
        session: whose results folder they are written to.
        made: the plan, finished.
        costs: gathered from it.
        failed: a sentence for each candidate or collection that is left out.
        into: the folder until it takes the place of the results folder; None is that one.
    """
    from harness.decision.holes import queue_as_csv
    from harness.decision.rules import decide, queue
    from harness.output.files import add_verdict
    from reports import decision_view

    situation = _situation(session, made, costs)
    found = decide(situation, suite=made.suite.name)
    found = found.model_copy(update={"warnings": [*failed, *found.warnings]})
    texts = {
        _DECISION: found.model_dump_json(indent=1),
        "decision.md": decision_view.markdown(found),
    }
    for asked in found.to_judge:
        place = situation.collections.index(asked.collection)
        pairs = queue(situation, place, asked.options)
        listed = made.collections[asked.collection]
        texts[Path(asked.file).name] = queue_as_csv(pairs, listed, names=asked.options)
    add_verdict(made, into or session.folder, "decide", texts, graded=session.folder)
    return found


def _situation(session: Session, made: Plan, costs: Costs) -> Situation:
    """Return what the decision looks at, with the grades beside the results folder."""
    from harness.decision.gather import gather_situation
    from harness.judging.judged import open_rounds
    from harness.output.files import grade_files, slugs

    files = grade_files(made, session.folder)
    begun = {name: path for name, path in files.items() if path.is_file()}
    rounds = open_rounds(made, begun, before=stored_runs(made) if begun else {})
    names = slugs(made.collections)
    queues = {name: str(session.folder / f"to-judge.{slug}.csv") for name, slug in names.items()}
    return gather_situation(made, costs, queues=queues, rounds=rounds)


def recommended(session: Session, made: Plan) -> str | None:
    """Return the candidate that the decision rules choose; None where they choose or see none."""
    from harness.decision.rules import decide
    from harness.results.gathering import gather_costs

    try:
        return decide(_situation(session, made, gather_costs(made)), suite="").candidate
    except HarnessError:  # such as of a collection of which nothing is judged
        return None


def stored_runs(made: Plan) -> dict[str, Run]:
    """Return what the stored baseline of a suite ranked, by collection, where gates read it."""
    from harness.gates import baseline_path
    from harness.gates.baseline import file_of, read_baseline, runs_before
    from harness.output.folder import other_suite

    path = baseline_path(made.suite.name, None)
    if not any(each.relative for each in made.suite.gates.values()) or not path.is_file():
        return {}
    try:
        stored = read_baseline(path, suite_file=file_of(made.suite))
    except HarnessError:  # `harness gate` says so
        return {}
    other = other_suite(stored.about.file, path.parent.resolve(), made.suite)
    return runs_before(stored, made) if other is None else {}  # as it says of another suite's


def with_unjudged(session: SessionT, *, begins: bool = False) -> SessionT:
    """Return the suite that asks all queries of a collection in which nothing is judged.

    Args:
        session: the suite.
        begins: also where people have not yet been asked to grade.
    """
    from harness.output.history import beside

    if not begins and not beside(session.folder, "judging").is_dir():
        return session
    other = copy(session)
    other.spec = session.spec.with_unjudged()
    return other


def renew_times(session: Session, made: Plan, *, failed: list[str]) -> None:
    """Write costs and decision of the results folder anew where latency was measured again.

    Args:
        session: whose results folder; one of other runs stays as it is.
        made: the plan, finished.
        failed: a sentence for each candidate or collection that is left out.
    """
    from harness.output.files import add_output, is_current
    from harness.results.gathering import gather_costs

    costs = gather_costs(made)
    if not is_current(made, session.folder) or _same_times(session, costs):
        return
    add_output(session.folder / _COSTS, costs.model_dump_json(indent=1))
    if (session.folder / _DECISION).is_file():
        write_decision(session, made, costs, failed=failed)


def _same_times(session: Session, costs: Costs) -> bool:
    """Tell whether the results folder holds exactly these costs."""
    try:
        return (session.folder / _COSTS).read_text("utf-8") == costs.model_dump_json(indent=1)
    except (OSError, UnicodeDecodeError):
        return False


def render_again(session: Session) -> None:
    """Render the reports with what a verb has just found, where there is anything to show."""
    from reports.written import write_reports

    if any((session.folder / name).is_file() for name in ("results.json", "judging.json")):
        write_reports(session.folder)
