"""Ray: workers on the machines of a cluster, and a driver that hands them parts of stages."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from harness.cluster.parts import StagePart, divide, join_parts, leaves
from harness.cluster.worker import PartOutcome, Worker, place_of_workers, signature
from harness.environment import cpu_threads
from harness.errors import ExitCode, HarnessError
from harness.plan.execute import run_here
from harness.plan.plan import Plan
from harness.plan.rates import record, record_start, weights_of
from harness.stage import Context, InputMissingError, Stage

_AHEAD = 2  # parts that a worker has before it, so that it never waits for the driver
_TRIES = 4  # of a part whose workers die
_CONNECTIONS = 3  # that are tried
_SHOWN = 300  # characters of an error
_SECONDS_TO_START, _SECONDS_TO_SAY = 300.0, 60.0


@dataclass(frozen=True)
class Wanted:
    """Where a suite runs.

    Attributes:
        on: "ray": the cluster of $RAY_ADDRESS, else one that is started on this machine; or the
            ``ray://`` address of one.
        workers: processes; None takes one for each GPU or CPU of the cluster.
        gpus_per_worker: of each, such as 1 or 0.5; None takes 1 where the suite's device is a GPU.
    """

    on: str
    workers: int | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise HarnessError(
                f"--workers {self.workers}: at least 1 is needed.", exit_code=ExitCode.USAGE
            )
        if self.on != "ray" and not self.on.startswith("ray://"):
            raise HarnessError(
                f"--on {self.on}: is not a cluster. Give ray, or an address such as "
                "ray://host:10001 (in Python: on=…).",
                exit_code=ExitCode.USAGE,
            )

    def gpus(self, device: str) -> float:
        """Return the GPUs of a worker, for a suite on this device."""
        return float(device != "cpu") if self.gpus_per_worker is None else self.gpus_per_worker

    def device(self, device: str) -> str:
        """Return torch's name of a worker's device, for a suite on this one."""
        return "cuda" if self.gpus(device) else "cpu"


class Cluster:
    """Workers that run the stages of a plan; they are started by the first stage that needs them.

    Args:
        wanted: where.
        plan: whose stages are run.
        say: tells a line to the user.
    """

    def __init__(self, wanted: Wanted, plan: Plan, *, say: Callable[[str], None]) -> None:
        self._wanted, self._plan, self._say = wanted, plan, say
        self._numbers = {id(stage): number for number, stage in enumerate(plan.stages)}
        self._is_open = False
        self._refused: HarnessError | None = None
        self._stages: Any = None
        self._workers: list[Any] = []
        self._resting: dict[Any, Any] = {}  # what a worker that died answers once it is back

    def close(self) -> None:
        """Leave nothing running."""
        if not self._is_open:
            return
        import ray

        with _own_signals(self._wanted):
            for worker in self._workers:
                with suppress(Exception):  # it may be gone
                    ray.kill(worker)
            ray.shutdown()
        self._workers, self._is_open = [], False

    def run(self, stage: Stage, context: Context) -> None:
        """Run a stage: in parts on the workers, or here where it stays with the driver.

        Raises:
            HarnessError: as the stage raises it, with the part that failed; or there is no cluster.
        """
        if not leaves(stage):
            run_here(stage, context)
            return
        if self._refused is not None:  # starting it again for each stage would take minutes
            raise self._refused
        try:
            self._open()
        except HarnessError as error:
            self._refused = error
            raise
        store, count = context.store, len(self._workers)
        store.look_again()
        work, done = stage.work(store), []
        division = divide(stage, store, workers=count)
        if division.first:
            done = self._do(stage, division.first, context, unit=division.unit)
            store.look_again()
            division = divide(stage, store, workers=count)
        done += self._do(stage, division.parts, context, unit=division.unit)
        store.look_again()
        join_parts(stage, store, division.parts)
        where = place_of_rates(self._wanted, self._plan)
        record(stage, work, sum(each.seconds for each in done), **where)
        loading = max((each.loading for each in done), default=0.0)
        if loading and (weights := weights_of(stage, store)) is not None:
            record_start(weights, loading, **where)

    def _do(
        self, stage: Stage, parts: Sequence[StagePart], context: Context, *, unit: str
    ) -> list[PartOutcome]:
        """Hand parts to workers as they get free, and return how they ended when all are done.

        Of what a worker had before it when it died, everything is handed out again. After a part
        has failed, those that have begun are waited for, and are stored.
        """
        import ray

        number = self._numbers[id(stage)]
        left, tries = deque(range(len(parts))), Counter[int]()
        flying: dict[Any, tuple[Any, int]] = {}
        failed: Exception | None = None
        ended: list[PartOutcome] = []
        total = sum(part.size for part in parts)
        with context.progress.task(stage.label, total=total, unit=unit) as advance:
            while flying or (left and failed is None):
                if failed is None:
                    self._hand_out(left, flying, parts, number)
                done, _ = ray.wait([*flying, *self._resting], timeout=_SECONDS_TO_SAY)
                if not done and not flying:
                    self._say("Waiting for workers of the cluster to come back …")
                for each in done:
                    if self._resting.pop(each, None) is not None:
                        continue
                    worker, place = flying.pop(each)
                    try:
                        outcome = ray.get(each)
                    except ray.exceptions.RayActorError as error:
                        self._resting[worker.about.remote()] = worker
                        left.appendleft(place)
                        tries[place] += 1
                        if tries[place] == _TRIES:
                            failed = _deadly(stage, parts[place], error)
                        continue
                    if outcome.failed:
                        failed = failed or _failure(stage, parts[place], outcome)
                    else:
                        self._check_key(stage, outcome, context)
                        ended.append(outcome)
                        advance(parts[place].size)
        if failed is not None:
            raise failed
        return ended

    def _hand_out(
        self,
        left: deque[int],
        flying: dict[Any, tuple[Any, int]],
        parts: Sequence[StagePart],
        stage: int,
    ) -> None:
        """Give each worker that is there its next parts, the one with the fewest first."""
        load = Counter(worker for worker, _ in flying.values())
        free = [each for each in self._workers if each not in self._resting.values()]
        for depth in range(_AHEAD):
            for worker in free:
                if left and load[worker] == depth:
                    place = left.popleft()
                    reference = worker.do.remote([self._stages], stage, parts[place])
                    flying[reference] = (worker, place)
                    load[worker] += 1

    def _check_key(self, stage: Stage, outcome: PartOutcome, context: Context) -> None:
        """Raise if a worker has stored a part where this process does not look for it."""
        key = stage.key(context.store)
        if key is not None and outcome.key not in {key, None}:
            raise HarnessError(
                f"{stage.label}: a worker stored it under key {outcome.key}, and here it has "
                f"{key}. What decides the key differs between the machines, such as the files of a "
                "model. Make it the same.",
                exit_code=ExitCode.STAGE,
            )

    def _open(self) -> None:
        """Start the workers, and see that each runs what this process runs.

        Raises:
            HarnessError: exit code 2, Ray is not installed, or cannot be reached, or has too few
                resources, or a worker runs other versions; with all that differs.
        """
        if self._workers:
            return
        ray = _imported(self._wanted)
        import torch

        self._say("Starting the workers …")
        gpus, device = self._wanted.gpus(self._plan.device), self._wanted.device(self._plan.device)
        started = time.perf_counter()
        self._is_open = True  # what is half open is closed, too
        try:
            with _own_signals(self._wanted):
                _connect(ray, self._wanted)
            self._stages = ray.put(tuple(s if leaves(s) else None for s in self._plan.stages))
            count = self._wanted.workers or _room(ray.cluster_resources(), gpus)
            options = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": -1}
            nodes = sum(node["Alive"] for node in ray.nodes())
            place, beside = place_of_workers(self._plan.store), -(-count // max(nodes, 1))
            made = ray.remote(**options)(Worker)
            said = {"beside": beside, "threads": torch.get_num_threads()}
            self._workers = [made.remote(place, device, **said) for _ in range(count)]
            asked = [worker.about.remote() for worker in self._workers]
            _check_versions(ray.get(asked, timeout=_SECONDS_TO_START))
        except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
            raise _no_cluster(self._wanted, error) from error
        seconds = time.perf_counter() - started
        record_start(None, seconds, **place_of_rates(self._wanted, self._plan))
        self._say(f"{count} workers, each on {device}.")


def place_of_rates(wanted: Wanted, plan: Plan) -> dict[str, Any]:
    """Return where the rates of the workers of a plan are kept."""
    return {"store": plan.store, "device": wanted.device(plan.device), "cluster": wanted.on}


def _room(resources: dict[str, float], gpus: float) -> int:
    """Return how many workers a cluster holds that have so many GPUs each, at least one."""
    if gpus:
        return max(1, int(resources.get("GPU", 0) / gpus))
    return max(1, int(resources.get("CPU", 1)))


def _imported(wanted: Wanted) -> Any:
    """Return the module ray.

    Raises:
        HarnessError: exit code 2, it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to its maker otherwise
    file = os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token")
    has_token = "RAY_AUTH_TOKEN" in os.environ or Path(file).is_file()
    if has_token and _address(wanted)["address"].startswith("ray://"):
        # A cluster that is started where there is a token asks for it; a client that is not told so
        # sends none, and waits in vain.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError as error:
        raise HarnessError(
            "--on: a cluster needs Ray: pip install 'embedding-harness[ray]'.",
            exit_code=ExitCode.USAGE,
        ) from error
    return ray


def _address(wanted: Wanted) -> dict[str, Any]:
    """Return the arguments of `ray.init`: a cluster that is there, or one of this machine's."""
    address = wanted.on if wanted.on != "ray" else os.environ.get("RAY_ADDRESS")
    if address:
        return {"address": address}
    count = wanted.workers or cpu_threads()
    return {"address": "local", "num_cpus": count, "include_dashboard": False}


def _connect(ray: Any, wanted: Wanted) -> None:
    """Connect to a cluster, or start one.

    For each client a cluster starts a process, which on a busy machine now and then dies at once.
    """
    for left in reversed(range(_CONNECTIONS)):
        try:
            ray.init(**_address(wanted), log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionAbortedError:
            if not left:
                raise
        else:
            return


@contextmanager
def _own_signals(wanted: Wanted) -> Iterator[None]:
    """Keep what this process does when it is asked to end, which Ray changes as it starts and ends.

    Where Ray runs on this machine that is put off until the end of the block, so that nothing is
    left half started. SIGTERM in the last second of Ray's own end still kills at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals interrupt the main thread alone
        return
    asked: list[int] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    if _address(wanted)["address"] == "local":
        for each in before:
            signal.signal(each, lambda number, _: asked.append(number))
    try:
        with mock.patch.object(signal, "signal"):
            yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)
    for number in asked[:1]:
        signal.raise_signal(number)


def _check_versions(workers: Sequence[dict[str, str]]) -> None:
    """Raise if a worker runs other versions than this process, with all that differs."""
    here = signature()
    problems = {
        f"worker on {worker['host']}: {name} is {worker.get(name, 'not installed')}, and here "
        f"{here.get(name, 'not installed')}. Install the same version there: results may differ."
        for worker in workers
        for name in sorted({*here, *worker} - {"host", "process"})
        if worker.get(name) != here.get(name)
    }
    if problems:
        raise HarnessError(sorted(problems), exit_code=ExitCode.USAGE)


def _failure(stage: Stage, part: StagePart, outcome: PartOutcome) -> Exception:
    """Return the error of a part as its stage raises it, with what the part holds."""
    if outcome.is_early:
        return InputMissingError(*outcome.problems)
    where = part.about(stage)
    told = [
        f"{'' if each.startswith(stage.label) else f'{stage.label}: '}{each}"
        f"{f' It happened in {where}.' if where else ''}"
        for each in outcome.problems
    ]
    tracebacks = [outcome.traceback] if outcome.traceback else []
    return HarnessError(told, exit_code=outcome.exit_code, tracebacks=tracebacks)


def _deadly(stage: Stage, part: StagePart, error: Exception) -> HarnessError:
    said = next(iter(str(error).splitlines()), "")
    where = part.about(stage)
    return HarnessError(
        f"{stage.label}: {_TRIES} workers died{f' in {where}' if where else ''}, got {said} Out of "
        "memory? Use fewer workers on a machine, or a smaller model or max_length.",
        exit_code=ExitCode.STAGE,
    )


def _no_cluster(wanted: Wanted, error: Exception) -> HarnessError:
    said = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    return HarnessError(
        f"--on {wanted.on}: no workers, got '{said}'. Check that the cluster can be reached, that "
        "embedding-harness is installed on it, that it has CPUs and GPUs for --workers and "
        "--gpus-per-worker, and, if it asks for a token, that RAY_AUTH_MODE=token and its "
        "RAY_AUTH_TOKEN are set here.",
        exit_code=ExitCode.USAGE,
    )
