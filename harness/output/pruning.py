"""Pruning: what lies in a store, which suites need it, whether it is whole, and what may go."""

from __future__ import annotations

import re
import shutil
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from harness.artifact import Artifact
from harness.diagnosis.diagnose import plan_diagnosis
from harness.environment import resolve_device
from harness.errors import ExitCode, HarnessError
from harness.output.receipts import KIND as RECEIPTS
from harness.plan.plan import Plan, make_plan
from harness.results.gathering import gather
from harness.retrieval.remote import VECTORS
from harness.retrieval.remote_reranking import SCORES
from harness.retrieval.retriever import AskRetriever
from harness.stage import InputMissingError
from harness.store import STAGING, Entry, Store
from harness.suite.load import load_suite
from harness.suite.spec import Suite

# Answers of language models and providers are paid for, and rates make estimates: no suite names
# either by key.
KEPT = ("answers", "rates", VECTORS, SCORES)
_CHECKPOINTS = "checkpoints"


class Held(NamedTuple):
    """An artifact, and the names of the suites that need it."""

    entry: Entry
    suites: tuple[str, ...]


def suites_of(paths: Sequence[Path]) -> list[Suite]:
    """Return the suites of files; without any, those in the current folder and in ``suites/``.

    Raises:
        HarnessError: exit code 2, one is broken, so that what it needs is not known.
    """
    if paths:
        return [load_suite(path) for path in paths]
    here = [*sorted(Path().glob("*.toml")), *sorted(Path().glob("suites/*.toml"))]
    return [load_suite(path) for path in here if _is_suite(path)]


def _is_suite(path: Path) -> bool:
    try:
        return "candidates" in tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False


def held(store: Store, needs: Mapping[str, set[Path]]) -> list[Held]:
    """Return everything that a store holds, with the suites that need it.

    Args:
        store: to look at.
        needs: by the names of suites, what `needs` returns.
    """
    entries = [*store.entries()]
    for path in sorted((store.root / STAGING).glob("training-*")):
        found = [each.stat() for each in path.rglob("*") if each.is_file()]
        size, written = sum(s.st_size for s in found), max((s.st_mtime for s in found), default=0.0)
        key = path.name.removeprefix("training-")
        entries.append(Entry(_CHECKPOINTS, key, path, size, written))
    return [
        Held(entry, tuple(name for name, paths in needs.items() if entry.path in paths))
        for entry in entries
    ]


def damaged(store: Store) -> Iterator[Entry]:
    """Yield the artifacts of which the disk has lost or changed something, reading all files."""
    return (entry for entry in store.entries() if not store.is_whole(entry.kind, entry.key))


def unneeded(
    found: Sequence[Held], *, older_than: float | None = None, to: int | None = None
) -> list[Entry]:
    """Return what may go: no suite needs it; the oldest first.

    Checkpoints of trainings go by age alone; answers of language models, which are paid for, and
    the rates that estimates start from, stay. Of an upload that was cut off, nobody needs anything.

    Args:
        found: everything that the store holds.
        older_than: seconds since it was made, at least.
        to: bytes that the store may hold; no more is removed than this takes.
    """
    now, total = time.time(), sum(each.entry.size for each in found)
    chosen = []
    for entry, suites in sorted(found, key=lambda each: each.entry.written):
        is_kept = (suites or entry.kind.partition("/")[0] in KEPT) and not entry.is_cut_off
        is_young = older_than is not None and now - entry.written < older_than
        if is_kept or is_young or (entry.kind == _CHECKPOINTS and older_than is None):
            continue
        if to is not None and total <= to:
            break
        chosen.append(entry)
        total -= entry.size
    return chosen


def prune(store: Store, entries: Sequence[Entry]) -> None:
    """Remove artifacts and checkpoints, each whole or not at all.

    Inside of `Store.discarding`. A kill leaves a whole store.
    """
    for entry in entries:
        if entry.kind != _CHECKPOINTS:
            store.remove(entry.kind, entry.key)
            with suppress(OSError):
                entry.path.parent.rmdir()  # the last of its kind
            continue
        with suppress(Timeout, OSError), FileLock(entry.path / "lock", timeout=0):
            shutil.rmtree(entry.path)


class _Asked(Store):
    """A store that notes what is asked for, reads metadata without checking, and writes nothing."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.root)
        self._store = store
        self.asked: set[Path] = set()

    def get(self, kind: str, key: str) -> Artifact | None:
        self.asked.add(self.root / kind / key)
        return self._store.glance(kind, key)

    def names(self, kind: str) -> Sequence[str]:
        return self._store.names(kind)

    def put(self, kind: str, key: str, **_: Any) -> Artifact:
        raise HarnessError(f"{kind}/{key}: nothing is written here.", exit_code=ExitCode.STAGE)

    def remove(self, kind: str, key: str) -> None:
        pass


def needs(suite: Suite, within: Store) -> set[Path]:
    """Return the folders of all artifacts that a run, a decision or a diagnosis reads.

    Raises:
        HarnessError: the suite cannot be planned, so that this is not known.
    """
    asked: set[Path] = set()
    for device in dict.fromkeys(("cpu", resolve_device("auto"))):  # timings belong to a device
        store = _Asked(within)
        plan = make_plan(suite, store, device=device, hub="later")
        if None in plan.planner.found_weights():
            raise HarnessError(
                f"{suite.path}: one of its models is not downloaded, so its artifacts in the store "
                "are unknown. Run it, or name the other suites.",
                exit_code=ExitCode.USAGE,
            )
        _ask(plan, store)
        asked |= store.asked
    receipts = _Asked(within).list(RECEIPTS)
    own = str(suite.path.absolute())
    asked |= {each.path for each in receipts if each.meta.get("suite") == own}
    return asked | {within.root / STAGING / f"training-{path.name}" for path in asked}


def _ask(plan: Plan, store: Store) -> None:
    """Ask for everything that the verbs ask for, without making what is not there."""
    for stage in plan.stages:
        stage.is_done(store)
        if isinstance(stage, AskRetriever):
            stage.answers(store)
    for scorer in plan.planner.scorers.values():
        kind = scorer.kind(store)
        if kind is not None:
            store.list(kind)
    with suppress(HarnessError, InputMissingError):
        gather(plan)
    with suppress(HarnessError, InputMissingError):
        for stage in plan_diagnosis(plan).stages:
            stage.is_done(store)


def seconds_of(text: str) -> float:
    """Return an age such as "30d", "12h" or "2w" in seconds.

    >>> seconds_of("30d"), seconds_of("1.5h")
    (2592000.0, 5400.0)

    Raises:
        HarnessError: exit code 2, it is none.
    """
    return _amount(text, {"h": 3600, "d": 86_400, "w": 604_800}, "an age such as 30d, 12h or 2w")


def bytes_of(text: str) -> int:
    """Return a size such as "20GB" in bytes.

    >>> bytes_of("20GB"), bytes_of("0.5 MB")
    (20000000000, 500000)

    Raises:
        HarnessError: exit code 2, it is none.
    """
    units = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    return int(_amount(text, units, "a size such as 500MB or 20GB"))


def _amount(text: str, units: Mapping[str, int], form: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
    if found is None or found[2].lower() not in units:
        raise HarnessError(f"'{text}' is not {form}.", exit_code=ExitCode.USAGE)
    return float(found[1]) * units[found[2].lower()]
