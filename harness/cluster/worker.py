"""Worker: what runs on a machine of the cluster; it holds one model and does one part at a time."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from harness.cluster.parts import StagePart
from harness.environment import cpu_threads, vector_memory, versions
from harness.errors import ExitCode, HarnessError
from harness.hashing import code_digest
from harness.shared_store import store_at
from harness.stage import Context, InputMissingError, Stage
from harness.store import Store

T = TypeVar("T")


class PartOutcome(NamedTuple):
    """How a part ended, in words that travel.

    Attributes:
        key: of the stage, as the worker works it out; None where the part failed.
        seconds: that it took, the loading of a model apart.
        loading: seconds of that.
        problems: sentences, where it failed.
        exit_code: of what failed.
        traceback: of a mistake that nobody expected, or "".
        is_early: an input was missing.
    """

    key: str | None = None
    seconds: float = 0.0
    loading: float = 0.0
    problems: tuple[str, ...] = ()
    exit_code: ExitCode = ExitCode.STAGE
    traceback: str = ""
    is_early: bool = False

    @property
    def failed(self) -> bool:
        """Whether the part failed."""
        return bool(self.problems)


@dataclass
class _Timed(Context):
    """A context that knows how long models took to load."""

    loading: float = 0.0

    def model(self, key: tuple[Hashable, ...], load: Callable[[], T]) -> T:
        """Return the model of that key."""
        started = time.perf_counter()
        found = super().model(key, load)
        self.loading += time.perf_counter() - started
        return found


class Worker:
    """One process of a cluster.

    Args:
        place: of the store, a folder that every machine sees, or a URL.
        device: torch's name of it.
        beside: workers of its machine, itself counted: each holds its share of vectors, and splits
            texts into tokens on its share of the CPUs.
        threads: of torch. The last bits of what a CPU computes depend on them, so that they are
            those of the driver.
    """

    def __init__(self, place: str, device: str, *, beside: int, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        os.environ["HARNESS_MEMORY"] = str(vector_memory() // beside)
        os.environ.setdefault("RAYON_NUM_THREADS", str(max(1, cpu_threads() // beside)))
        self._store = store_at(place)
        self._device = device
        self._context = _Timed(store=self._store, device=device)
        self._stages: Sequence[Stage] | None = None
        self._last = -1

    def about(self) -> dict[str, str]:
        """Return where it runs, and the versions of what decides results."""
        return {"host": socket.gethostname(), "process": str(os.getpid()), **signature()}

    def do(self, stages: Sequence[Any], number: int, part: StagePart) -> PartOutcome:
        """Do a part of a stage.

        Args:
            stages: the reference of all stages, in a list, so that Ray leaves it to be read once.
            number: of the stage.
            part: of it.
        """
        if self._stages is None:
            import ray

            self._stages = ray.get(stages[0])
        stage = self._stages[number]
        if number != self._last:
            self._store.look_again()
            self._last = number
        started, self._context.loading = time.perf_counter(), 0.0
        try:
            part.do(stage, self._context)
            loading = self._context.loading
            seconds = time.perf_counter() - started - loading
            return PartOutcome(stage.key(self._store), seconds, loading)
        except Exception as error:  # noqa: BLE001 - it travels to the driver in words
            self._context = _Timed(store=self._store, device=self._device)  # frees the model
            return _failure(error)


def signature() -> dict[str, str]:
    """Return the versions of the packages that decide results, and the key of this code."""
    return {**versions(), "code of harness": code_digest(Path(__file__).parents[1])}


def place_of_workers(store: Store) -> str:
    """Return how workers find a store: its URL, or the whole path of its folder."""
    return store.name if "://" in store.name else str(store.root.absolute())


def _failure(error: Exception) -> PartOutcome:
    match error:
        case HarnessError():
            return PartOutcome(problems=tuple(error.problems), exit_code=error.exit_code)
        case InputMissingError():
            return PartOutcome(problems=(str(error),), is_early=True)
        case MemoryError():
            fix = "Free memory, or use a smaller model, or fewer workers on a machine."
            return PartOutcome(problems=(f"out of memory. {fix}",))
    said = next(iter(str(error).splitlines()), "")
    told = f"{type(error).__name__}{f' ({said})' if said else ''}. See the traceback."
    return PartOutcome(problems=(told,), traceback=traceback.format_exc())
