"""Scratch: folders that belong to a running process, and are removed once it is gone."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK, _CONTENT = "lock", "content"


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Give an empty folder of this process below ``<parent>/<prefix>…``, and remove it at the end.

    A lock is held as long as the block runs, so that others can tell a process that was killed from
    one that is stopped, or slow. The folder appears when the lock is held.

    Raises:
        OSError: it can not be made.
    """
    own = parent / f"{prefix}{uuid.uuid4().hex}"
    try:
        own.mkdir(parents=True)
        with FileLock(own / _LOCK):
            (own / _CONTENT).mkdir()
            yield own / _CONTENT
    finally:
        shutil.rmtree(own, ignore_errors=True)


def dead(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield what processes that are gone have left of `scratch`, and remove each afterwards.

    Only what `scratch` made is looked at: by its name, its lock and its content.
    """
    try:
        found = [path for path in parent.iterdir() if path.name.startswith(prefix)]
    except OSError:
        return
    for own in found:
        if not is_scratch(own):
            continue
        with suppress(Timeout, OSError), FileLock(own / _LOCK, timeout=0):
            yield own / _CONTENT
            shutil.rmtree(own)


def is_scratch(folder: Path) -> bool:
    """Tell whether a folder is one that `scratch` made, by its lock and its content."""
    return (folder / _LOCK).is_file() and (folder / _CONTENT).is_dir()
