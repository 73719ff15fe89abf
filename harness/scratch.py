"""Scratch: folders that belong to a running process, and are removed once it is gone."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK, _CONTENT = "lock", "content"
_NAME = re.compile(r".*[0-9a-f]{32}", re.DOTALL)


@contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Give an empty folder of this process below ``<parent>/<prefix>…``, and remove it at the end.

    A lock is held as long as the block runs, so that others can tell a process that was killed from
    one that is stopped, or slow.

    Raises:
        OSError: it can not be made.
    """
    with ExitStack() as stack:
        own = _locked(parent, prefix, stack)
        try:
            yield own / _CONTENT
        finally:
            shutil.rmtree(own, ignore_errors=True)


def _locked(parent: Path, prefix: str, stack: ExitStack) -> Path:
    """Make a folder whose lock the stack holds; another one where `dead` took it before that."""
    for last in (False, False, True):
        own = parent / f"{prefix}{uuid.uuid4().hex}"
        try:
            own.mkdir(parents=True)
            stack.enter_context(FileLock(own / _LOCK))
            (own / _CONTENT).mkdir()
        except OSError as error:
            shutil.rmtree(own, ignore_errors=True)
            if last or not isinstance(error, FileNotFoundError):
                raise
        else:
            return own
    raise AssertionError


def dead(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield what processes that are gone have left of `scratch`, and remove each afterwards.

    A kill may have come at any moment, also while the folder was made or removed.
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
    """Tell whether a folder is one that `scratch` made, by its name and by all that it holds."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError:
        return False
    return _NAME.fullmatch(folder.name) is not None and names <= {_LOCK, _CONTENT}
