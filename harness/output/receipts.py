"""Receipts: what a verb read and wrote, so that the same call answers at once if nothing changed.

A receipt lists every file that the answer rests on: the suite file, the files that it names, the
weights, this package's code, the artifacts in the store, and the results folder. Like git's index,
it knows each by its device, inode, size, and the times of its content and of its inode; a file that
changed shortly before or during the run may change again without a trace, so that nothing is kept.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.collection.mteb_task import SOURCE as MTEB
from harness.collection.mteb_task import task_place
from harness.collection.python_source import python_files
from harness.environment import device_name
from harness.errors import HarnessError
from harness.hashing import digest
from harness.output.history import beside
from harness.shared_store import store_at

if TYPE_CHECKING:
    from harness.models.weights import Weights
    from harness.plan.plan import Plan
    from harness.suite.spec import Suite

KIND = "receipts"
_BUSY_LOAD = 1.5  # runnable processes to a processor
_TREE = Path(__file__).parents[2]
_RESOLUTION_NS = 2_000_000_000  # of the times of a file, on any file system
_TICK_SECONDS = 0.02  # the kernel's clock, by which files that are written here get their times
_MOST_FILES = 20_000  # a suite that names a folder of more is not remembered
_REPLACED = {"files", "rates", KIND}  # what is remembered beside results, anew at any time
_VARIABLES = ("CUDA_", "HARNESS_", "HF_", "TRANSFORMERS_")  # that change what is found

FileState = list[int] | None


class Receipt:
    """What is remembered of one call: a suite file with its options.

    Args:
        suite: file.
        store: folder or URL of the store.
        results: folder.
        device: as it is named in the call.
        offline: whether no hub is asked.
        limit: queries of a sample, or None.

    Attributes:
        verbs: whose answers lie in the results folder, where nothing has changed since they ended.
    """

    def __init__(
        self,
        suite: Path,
        *,
        store: str | Path,
        results: Path,
        device: str,
        offline: bool,
        limit: int | None,
    ) -> None:
        self._started = time.time_ns()
        self._store = store_at(store)
        self._folder = results
        places = [str(suite), str(results), str(store)]
        call = [str(Path.cwd()), *places, device, offline, limit]
        self._key = digest("receipt", call)
        found = self._store.get(KIND, self._key) if suite.is_file() else None
        holds = found is not None and _holds(found.meta)
        self.verbs = frozenset(found.meta["verbs"]) if found is not None and holds else frozenset()

    @property
    def sentence(self) -> str:
        """What a reader sees instead of progress."""
        return f"Nothing has changed since the last run: read from {self._folder}."

    def forget(self) -> None:
        """Let every verb begin anew."""
        self.verbs = frozenset()

    def keep(self, verb: str, plan: Plan) -> None:
        """Remember that a verb has ended well; what ended well before still holds.

        Args:
            verb: "run", "decide" or "diagnose".
            plan: finished.
        """
        if not plan.suite.has_file or plan.suite.given:
            return
        with suppress(HarnessError, OSError, _UnknownError):
            code = (
                f"{folder}/{name}"
                for package in ("harness", "reports")
                for folder, _, files in os.walk(_TREE / package)
                if not folder.endswith("__pycache__")  # compiled at any time
                for name in files
            )
            read = _states(chain(_read_by(plan, self._folder), code))
            newest = max(max(state[-2:]) for state in read.values() if state)
            if newest > self._started - _RESOLUTION_NS:
                return
            time.sleep(_TICK_SECONDS)  # what is written from now on has a later time
            store = plan.store
            used = [p for p in store.used if p.relative_to(store.root).parts[0] not in _REPLACED]
            written = _states(chain(_below(self._folder), *map(_below, used)))
            meta = {
                "suite": str(plan.suite.path.absolute()),
                "environment": _environment(),
                "verbs": sorted({*self.verbs, verb}),
                "states": {**read, **written},
                "timed_again": _timed_again(plan),
            }
            self._store.remove(KIND, self._key)
            self._store.put(KIND, self._key, arrays={}, meta=meta)


class _UnknownError(Exception):
    """It cannot be known whether something has changed.

    At a hub or a URL, in what the code of a task reads, or in very many files.
    """


def _holds(meta: Mapping[str, Any]) -> bool:
    """Tell whether everything is as it was, and nothing is left to be timed on a quiet machine."""
    if meta["environment"] != _environment():
        return False
    if any(_state(path) != state for path, state in meta["states"].items()):
        return False
    if meta["timed_again"] is None or time.time() < meta["timed_again"]:
        return True
    if os.getloadavg()[0] > _BUSY_LOAD * (os.cpu_count() or 1):
        return True  # as `is_quiet` says too, which takes a tenth of a second to load
    from harness.retrieval.latency import is_quiet

    return not is_quiet()


def _environment() -> str:
    """Return the key of what decides beside files: Python, its packages, the devices."""
    folders = [Path(place) for place in sys.path if place.endswith("-packages")]
    packages = sorted({path.name for each in folders for path in each.glob("*-info")})
    variables = {name: os.environ[name] for name in os.environ if name.startswith(_VARIABLES)}
    devices = [device_name("cpu"), device_name("cuda")]
    return digest(str(_TREE), sys.version, packages, variables, devices)


def _read_by(plan: Plan, results: Path) -> Iterator[str]:
    """Yield every file and folder that a plan has read, or looked for, outside store and results.

    Raises:
        _UnknownError: a hub may have another version of a model by now, or the code of a task may
            read something else.
    """
    from harness.gates import baseline_path

    suite = plan.suite
    yield str(suite.path.absolute())
    if beside(results, "judging").is_dir():  # what the stored baseline ranked is judged, too
        yield from _below(beside(results, "judging"))
        yield str(baseline_path(suite.name, None).absolute())
    for weights in plan.planner.found_weights():
        if weights is None or not _is_fixed(weights, suite):
            raise _UnknownError
        yield from _below(weights.folder)
    at_urls = {text for text in _texts(suite.said["collections"]) if "://" in text}
    for text in dict.fromkeys(_texts(suite.said)):
        kind, _, rest = text.partition(":")
        if kind == "python":
            yield from map(str, python_files(rest))
        is_task = kind == MTEB and task_place(rest).code
        if is_task or text in at_urls:
            raise _UnknownError
        for name in {text, rest} - {""}:
            for collection in suite.collections:
                said = Path(name.replace("{collection}", collection)).expanduser()
                place = suite.path.parent / said
                if not place.resolve().is_relative_to(results.resolve()):
                    yield from _below(place)


def _is_fixed(weights: Weights, suite: Suite) -> bool:
    """Tell whether a model is in files here, or of a commit that the suite names."""
    if weights.reference.startswith("package:") or Path(weights.reference).expanduser().is_dir():
        return True
    is_offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return is_offline or weights.folder.name in set(_texts(suite.said))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text among plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _below(path: Path) -> Iterator[str]:
    """Yield a path, absolute, and all files and folders below it."""
    path = path.absolute()
    yield str(path)
    for folder, folders, files in os.walk(path, followlinks=True):
        yield from (f"{folder}/{name}" for name in (*folders, *files))


def _timed_again(plan: Plan) -> float | None:
    """Return from when on a quiet machine would time a step again, in seconds since 1970."""
    steps = {step for steps in plan.steps.values() for step in steps if step is not None}
    times = [time for step in steps if (time := step.again_at(plan.store)) is not None]
    return min(times, default=None)


def _states(paths: Iterable[str]) -> dict[str, FileState]:
    states: dict[str, FileState] = {}
    for path in paths:
        states[path] = _state(path)
        if len(states) > _MOST_FILES:
            raise _UnknownError
    return states


def _state(path: str) -> FileState:
    """Return what tells a file from another one; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - of a thousand files
    except (OSError, ValueError):
        return None
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
