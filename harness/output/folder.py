"""Results folder: whose it is, and how it is replaced as a whole."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import ExitCode, HarnessError
from harness.scratch import dead, exchange, is_scratch, scratch
from harness.suite.load import load_suite
from harness.suite.spec import Suite

MANIFEST = "manifest.json"
_OPTION = "--results (in Python: results=…)"
_SYSTEM = {"lost+found"}  # of a file system that is mounted as the folder
_TRIES = 100
_ELSEWHERE = {errno.EBUSY, errno.EXDEV, errno.EINVAL, errno.EACCES, errno.EPERM, errno.EROFS}


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest that a verb has written into a folder, or None where there is none.

    A list of files that is damaged is left out, as of an older version, which listed none.
    """
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(found, dict) and isinstance(found.get("suite"), str)
    if not known or not all(isinstance(found.get(k), dict) for k in _OURS):
        return None
    manifest: dict[str, Any] = found
    files = manifest.get("files")
    if not isinstance(files, list) or not all(isinstance(each, str) for each in files):
        manifest.pop("files", None)
    return manifest


_OURS = ("said", "collections", "runs")


def refuse_other_results(folder: Path, suite: Suite, *, store: Path) -> None:
    """Raise if results of a suite must not take the place of what a folder holds.

    Raises:
        HarnessError: exit code 2: it is a file, it holds files of somebody else, the results of
            another suite file, or what the run itself needs.
    """
    problem = _problem(folder, suite, store)
    if problem:
        raise HarnessError(f"results folder {folder}: {problem}", exit_code=ExitCode.USAGE)


def _problem(folder: Path, suite: Suite, store: Path) -> str:
    try:
        place = folder.resolve()
        problem = _holds(place, suite, store) or _no_place(folder)
        names = _names(place) if place.is_dir() else []
    except (OSError, RuntimeError) as error:
        what = getattr(error, "strerror", None) or error
        return f"cannot be used, got {what}. Name another folder with {_OPTION}."
    manifest = read_manifest(place)
    if problem:
        return f"{problem}. Name another with {_OPTION}."
    if names and manifest is None:
        some = ", ".join(f"'{name}'" for name in names[:3]) + (", …" if len(names) > 3 else "")
        if MANIFEST in names:
            return (
                f"its {MANIFEST} is damaged or of another program, so its files ({some}) may not "
                "be results, and results replace a whole folder. Remove the folder if they are, or "
                f"name a new or empty one with {_OPTION}."
            )
        return (
            f"holds files that are not results ({some}), and results replace a whole folder. "
            f"Name a new or empty folder with {_OPTION}."
        )
    return _of_another(place, suite)


def refuse_results_of_another(folder: Path, suite: Suite) -> None:
    """Raise if a suite's results are to be read where those of another suite file lie.

    Raises:
        HarnessError: exit code 2.
    """
    problem = _of_another(folder.resolve(), suite)
    if problem:
        raise HarnessError(f"results folder {folder}: {problem}", exit_code=ExitCode.USAGE)


def _of_another(place: Path, suite: Suite) -> str:
    other = other_suite((read_manifest(place) or {}).get("file"), place, suite)
    if other is None:
        return ""
    return (
        f"holds the results of another suite file with the name '{suite.name}', {other}. "
        f"Rename one of the suites (name = …), or name another folder with {_OPTION}."
    )


def _no_place(folder: Path) -> str:
    """Return why no folder can be written at a path, or nothing.

    Raises:
        OSError: its name is too long, with what is added to it for the new folder beside it.
    """
    (folder.resolve().parent / f"{_prefix(folder.resolve())}{'0' * 32}").exists()
    there = next(each for each in (folder, *folder.resolve().parents) if each.exists())
    if not there.is_dir():
        return "is a file" if there == folder else f"lies below the file {there}"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"cannot be written: {there} is read-only"


def _holds(place: Path, suite: Suite, store: Path) -> str:
    """Return what the folder shares with what a run needs, or nothing; it need not exist yet."""
    for path, what in (
        (Path.cwd(), "is, or holds, the current folder"),
        (store, "holds the store"),
        (suite.path, "holds the suite file"),
    ):
        if path.resolve().is_relative_to(place):
            return f"{what}, and results replace a whole folder"
    inside = place.is_relative_to(store.resolve())
    return "lies in the store" if inside and not Path.cwd().is_relative_to(store.resolve()) else ""


def _names(folder: Path) -> list[str]:
    """Return what lies in a folder, but for what the file system or a killed run left."""
    names = [
        path.name
        for path in folder.iterdir()
        if not (path.name.startswith(_prefix(folder)) and is_scratch(path))
    ]
    return sorted(set(names) - _SYSTEM if folder.is_mount() else names)


def suite_file(folder: Path, suite: Suite) -> str:
    """Return the path of a suite file as a manifest names it: relative to the results folder.

    So a checkout can move with its results. A suite that is built in Python has none: "".
    """
    if not suite.has_file:
        return ""
    return Path(os.path.relpath(suite.path.resolve(), folder.resolve())).as_posix()


def other_suite(named: object, folder: Path, suite: Suite) -> Path | None:
    """Return the suite file that stored files come from, where it is another of the same name.

    Args:
        named: the file as they name it, relative to the folder; None where they name none.
        folder: where they lie.
        suite: that reads or replaces them.

    A file that was moved, renamed or copied is the same suite: nothing is at the old place, or the
    same is said there.
    """
    other = Path(os.path.normpath(folder / named)) if isinstance(named, str) else suite.path
    try:
        if not other.is_file() or other.resolve() == suite.path.resolve():
            return None
    except OSError:  # a name that is too long for any file
        return None
    with suppress(HarnessError):
        found = load_suite(other)
        if found.name != suite.name or found.said == suite.said:
            return None
    return other


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder and put it in the place of `folder` when the block ends well.

    Every process fills a folder of its own, and one rename exchanges it with the old one: of
    several at once, the last one stands, whole, and a kill leaves one or the other. A symbolic link
    stays, and its target is replaced. What cannot be renamed, such as a mount point, is filled
    entry by entry, the manifest last.

    Raises:
        OSError: the folder cannot be written.
    """
    target = folder.resolve()
    parent = target.parent
    parent.mkdir(parents=True, exist_ok=True)
    place = target if target.is_dir() and not os.access(parent, os.W_OK) else parent
    for left in dead(place, _prefix(target)):
        for old in left.glob("old-*"):  # the kill came between two renames, see `exchange`
            with suppress(OSError):
                old.rename(target)
    with scratch(place, _prefix(target)) as own:
        new = own / "new"
        new.mkdir()
        yield new
        _swap(new, target)


def _prefix(target: Path) -> str:
    return f".{target.name}.new-"


def _swap(new: Path, target: Path) -> None:
    for number in range(_TRIES):
        if exchange(new, target):
            return
        old = new.with_name(f"old-{number}")
        try:
            if target.exists():
                target.rename(old)
        except OSError as error:
            if error.errno == errno.ENOENT:
                continue  # another run has just taken it away
            if error.errno not in _ELSEWHERE:
                raise
            _fill(new, target)
            return
        try:
            new.rename(target)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                continue  # another run has just put its own there
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        return
    raise OSError(errno.EBUSY, "other runs write there all the time")


def _fill(new: Path, target: Path) -> None:
    """Put the entries of a folder in the place of those of another that cannot be renamed."""
    with scratch(target, _prefix(target)) as own:
        if not new.is_relative_to(target):
            new = Path(shutil.copytree(new, own / "new"))
        old = own / "old"
        old.mkdir()
        names = {path.name for path in new.iterdir()} | set(_names(target))
        for name in sorted(names, key=lambda name: (name == MANIFEST, name)):
            if (target / name).exists() or (target / name).is_symlink():
                (target / name).rename(old / name)
            if (new / name).exists():
                (new / name).rename(target / name)
