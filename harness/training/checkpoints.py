"""Checkpoints: what a killed training resumes from, in the store's staging area."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from harness.hashing import digest, file_digest
from harness.store import STAGING, Store

_KIND = "weights"  # of the artifact that a training ends in
_STATE = "trainer_state.json"
_WHOLE = "whole.json"
_LOCK = "lock"
_OWNER = "owner"

_log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """A checkpoint that was written to its end.

    Attributes:
        path: its folder.
        seconds: that training had taken by then.
    """

    path: Path
    seconds: float

    @property
    def step(self) -> int:
        """The step after which it was written."""
        return _step(self.path)


class Checkpoints:
    """The checkpoints of one training, addressed by its key.

    A kill loses what was trained since the last one: `every_seconds`, or one step where that takes
    longer.

    Args:
        store: whose staging area holds them.
        key: of the training.
        every_seconds: between two of them.
    """

    def __init__(self, store: Store, key: str, *, every_seconds: float) -> None:
        self.folder = store.root / STAGING / f"training-{key}"
        self.every_seconds = every_seconds
        self._before = 0.0
        self._started = self._saved = time.monotonic()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process trains the same, and say so."""
        lock = self._acquired()
        try:
            (self.folder / _OWNER).write_text(str(os.getpid()), "utf-8")
            yield
        finally:
            if self.last() is None:
                self.remove()
            lock.release()

    def _acquired(self) -> FileLock:
        lock = FileLock(self.folder / _LOCK)
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except FileNotFoundError:
                continue  # another process has just ended and removed the folder
            except Timeout:
                owner = "unknown"
                with suppress(OSError):
                    owner = (self.folder / _OWNER).read_text("utf-8")
                _log.warning("waiting for process %s, which trains the same", owner)
                lock.acquire()
            if (self.folder / _LOCK).exists():
                return lock
            lock.release()

    def last(self) -> Checkpoint | None:
        """Return the latest checkpoint from which training can resume, or None."""
        found = sorted(self.folder.glob("checkpoint-*"), key=lambda path: -_step(path))
        for path in found:
            whole = _read(path)
            if whole is not None and (whole[1] is None or _read(Path(whole[1])) is not None):
                return Checkpoint(path, whole[0])
        return None

    def start(self, last: Checkpoint | None) -> None:
        """Start the clock, with the seconds of the checkpoint that training resumes from.

        Later checkpoints, which are damaged or half-written, are removed.
        """
        for path in self.folder.glob("checkpoint-*"):
            if last is None or _step(path) > last.step:
                shutil.rmtree(path, ignore_errors=True)
        self._before = last.seconds if last is not None else 0.0
        self._started = self._saved = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds of training so far, those before a kill included."""
        return self._before + time.monotonic() - self._started

    def remove(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_due(self) -> bool:
        """Tell whether it is time for the next checkpoint."""
        return time.monotonic() - self._saved >= self.every_seconds

    def seal(self, step: int) -> None:
        """Mark the checkpoint of a step as whole, with the seconds of training and a checksum."""
        path, seconds = self.folder / f"checkpoint-{step}", self.seconds()
        body = {"seconds": seconds, "checksum": _checksum(path, seconds)}
        (path / _WHOLE).write_text(json.dumps(body), "utf-8")
        self._saved = time.monotonic()


def remove_finished(store: Store) -> None:
    """Remove what killed trainings left that nothing can resume from.

    That is where the weights are stored, or no checkpoint is whole. A checkpoint is never too old
    to go on from, and what a running process holds is left alone.
    """
    for lock in (store.root / STAGING).glob(f"training-*/{_LOCK}"):
        name = re.fullmatch(r"training-([0-9a-f]{32})", lock.parent.name)
        if name is None:
            continue
        with suppress(Timeout, OSError), FileLock(lock, timeout=0):
            resumable = any(lock.parent.glob(f"checkpoint-*/{_WHOLE}"))
            if not resumable or store.get(_KIND, name[1]) is not None:
                shutil.rmtree(lock.parent)


def _read(path: Path) -> tuple[float, str | None] | None:
    """Return a checkpoint's seconds of training, and the path of the best one so far.

    None if it is half-written or damaged.

    A checkpoint of a version that wrote no checksum is taken as it is.
    """
    try:
        body = json.loads((path / _WHOLE).read_text("utf-8"))
        seconds = float(body["seconds"])
        best = json.loads((path / _STATE).read_text("utf-8"))["best_model_checkpoint"]
        is_whole = body == {"seconds": seconds} or body["checksum"] == _checksum(path, seconds)
    except FileNotFoundError:
        return None  # the kill came while it was written
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_whole = False
    if is_whole:
        return seconds, best
    _log.warning("%s is damaged; training continues from an earlier checkpoint.", path)
    return None


def _checksum(path: Path, seconds: float) -> str:
    files = sorted(each for each in path.rglob("*") if each.is_file() and each.name != _WHOLE)
    names = [each.relative_to(path).as_posix() for each in files]
    return digest("checkpoint", seconds, names, [file_digest(each) for each in files])


def _step(path: Path) -> int:
    step = path.name.rpartition("-")[2]
    return int(step) if step.isdigit() else -1
