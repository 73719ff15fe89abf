"""Scratch: folders that belong to a running process, and are removed once it is gone.

What a process has written there takes its place by a rename, or in the place of an older folder by
an exchange.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK, _CONTENT = "lock", "content"
_SECONDS_TO_MAKE = 60.0
_NAME = re.compile(r".*[0-9a-f]{32}", re.DOTALL)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of <fcntl.h> and <linux/fs.h>


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Give an empty folder of this process below ``<parent>/<prefix>…``, and remove it at the end.

    A lock is held as long as the block runs, so that others can tell a process that was killed from
    one that is stopped, or slow.

    Raises:
        OSError: it cannot be made.
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

    A kill may have come while a folder was made or removed, so that a part of it is missing: it is
    removed after a minute, since it may also be one that is being made.
    """
    try:
        found = [path for path in parent.iterdir() if path.name.startswith(prefix)]
    except OSError:
        return
    for own in found:
        whole = (own / _LOCK).is_file() and (own / _CONTENT).is_dir()
        if not is_scratch(own) or not (whole or _age(own) > _SECONDS_TO_MAKE):
            continue
        with suppress(Timeout, OSError), FileLock(own / _LOCK, timeout=0):
            yield own / _CONTENT
            # Its owner may be removing it, too, and what it has taken is no reason to stop.
            shutil.rmtree(own, ignore_errors=True)


def _age(folder: Path) -> float:
    """Return the seconds since an entry of a folder changed; 0 where it has gone."""
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0


def is_scratch(folder: Path) -> bool:
    """Tell whether a folder is one that `scratch` made, by its name and by all that it holds."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return False
    return _NAME.fullmatch(folder.name) is not None and names <= {_LOCK, _CONTENT}


def exchange(new: Path, old: Path) -> bool:
    """Exchange two folders in one step, which no kill can come between: renameat2 of Linux.

    Returns:
        False where nothing was done: one is missing, or the system cannot. Rename one after the
        other then.
    """
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = (_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old))
    return rename is not None and rename(*paths, _RENAME_EXCHANGE) == 0
