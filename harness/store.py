"""Store: artifacts addressed by content, complete or absent, safe against a kill at any moment."""

from __future__ import annotations

import errno
import json
import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from harness.artifact import META, Artifact, flush, identity, seal_files, whole_in
from harness.errors import ExitCode, HarnessError, UnwritableError, cannot_write
from harness.scratch import dead, exchange, scratch

STAGING = "staging"
_WRITING, _RUNNING = "writing-", "running-"

_log = logging.getLogger(__name__)

# Artifacts that this process has reported as damaged.
_reported: set[Path] = set()


class Entry(NamedTuple):
    """What lies in a store, by the names and sizes of files alone; it may be damaged.

    Attributes:
        path: of its folder.
        size: bytes of all of its files.
        written: when, in seconds since 1970.
        is_cut_off: an upload was killed before its metadata, so that nobody reads it.
    """

    kind: str
    key: str
    path: Path
    size: int
    written: float
    is_cut_off: bool = False


class Store:
    """Artifacts under ``<root>/<kind>/<key>/``.

    An artifact is written to a temporary folder, flushed to disk, and renamed into place; its
    `meta.json` lists every file with its size and checksum and is written last. So what is found is
    whole, and what was interrupted is invisible. What the disk has damaged since is found by its
    checksum, once a process and file, and counts as absent. Two processes that make the same
    artifact do harmless double work: the first rename wins.

    Args:
        root: folder of the store; created on the first write.

    Attributes:
        used: folders of the artifacts that were found or made since.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.used: set[Path] = set()

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return str(self.root)

    def get(self, kind: str, key: str) -> Artifact | None:
        """Return the artifact, or None where it is absent or damaged, which is logged."""
        return self._found(kind, key)

    def glance(self, kind: str, key: str) -> Artifact | None:
        """Return an artifact by its metadata alone, unchecked; None where it is absent."""
        path = self.root / kind / key
        try:
            return Artifact(path, json.loads((path / META).read_text("utf-8")))
        except (OSError, ValueError):
            return None

    def seen(self, kind: str, key: str) -> Artifact | None:
        """Return an artifact to know that it is there; a store at a URL fetches no more of it than
        its metadata.
        """
        return self.get(kind, key)

    def bring(self, kind: str, keys: Iterable[str]) -> None:
        """Fetch what is about to be read, several at a time; a folder holds it already."""

    def bring_metadata(self, kind: str, keys: Iterable[str]) -> None:
        """Fetch the metadata of what `seen` is about to look at, several at a time."""

    def look_again(self) -> None:
        """Forget what was seen, where others write too; a folder is looked at every time."""

    def _found(self, kind: str, key: str) -> Artifact | None:
        path = self.root / kind / key
        found = self._whole(kind, key)
        if found is not None:
            self.used.add(path)
        elif path.is_dir():
            self._report_damage(path)
        return found

    def is_whole(self, kind: str, key: str) -> bool:
        """Tell whether an artifact is there with all of its files as they were written."""
        return self._whole(kind, key) is not None

    def _whole(self, kind: str, key: str) -> Artifact | None:
        """Return the artifact, or None where a file of it is lost or changed.

        An artifact of a version that wrote no checksums is compared by the sizes of its files.
        """
        path = self.root / kind / key
        while (folder := identity(path)) is not None:
            found = whole_in(path, kind, key)
            if found is not None or identity(path) == folder:
                return found  # else it was replaced while it was read
        return None

    def _report_damage(self, path: Path) -> None:
        if path not in _reported:
            _reported.add(path)
            name = path.relative_to(self.root).as_posix()
            _log.warning("store %s: %s is damaged; it is made again.", self.root, name)

    def remove(self, kind: str, key: str) -> None:
        """Take an artifact away that is to be made again; it may be absent."""
        self._take_away(kind, key)

    def _take_away(self, kind: str, key: str) -> None:
        with self._staging() as folder, suppress(FileNotFoundError):
            (self.root / kind / key).rename(folder / "removed")
            self.used.discard(self.root / kind / key)

    def list(self, kind: str) -> list[Artifact]:
        """Return all artifacts of a kind, in the order of their keys."""
        found = (self.get(kind, key) for key in self.names(kind))
        return [artifact for artifact in found if artifact is not None]

    def names(self, kind: str) -> Sequence[str]:
        """Return the names of what lies directly below a kind: keys, or parts of longer kinds."""
        folder = self.root / kind
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def entries(self) -> Iterator[Entry]:
        """Yield everything that is stored, in order of kinds and keys."""
        for place, folders, files in os.walk(self.root):
            folder = Path(place)
            folders[:] = sorted(name for name in folders if folder / name != self.root / STAGING)
            if folder == self.root or not files:
                continue
            folders.clear()
            found = [path.stat() for path in folder.rglob("*") if path.is_file()]
            kind = folder.parent.relative_to(self.root).as_posix()
            size, written = sum(each.st_size for each in found), max(s.st_mtime for s in found)
            yield Entry(kind, folder.name, folder, size, written)

    def lease(self) -> None:
        """Keep `discard` from taking anything away until this object or the process is gone.

        What killed processes have left of theirs is removed.
        """
        with suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self._pruning):
                for _ in dead(self.root / STAGING, _RUNNING):
                    pass
                held = ExitStack()
                held.enter_context(scratch(self.root / STAGING, _RUNNING))
                weakref.finalize(self, held.close)

    @contextmanager
    def discarding(self) -> Iterator[None]:
        """Let nobody begin to use the store in this block.

        Raises:
            HarnessError: exit code 4, somebody uses it.
        """
        with FileLock(self._pruning):
            for _ in dead(self.root / STAGING, _RUNNING):
                pass
            if any((self.root / STAGING).glob(f"{_RUNNING}*")):
                raise HarnessError(
                    f"store {self.root}: a run is using it, and may need anything here. "
                    "Repeat the command when it has ended.",
                    exit_code=ExitCode.STAGE,
                )
            yield

    @property
    def _pruning(self) -> Path:
        return self.root / "prune.lock"

    def put(
        self,
        kind: str,
        key: str,
        *,
        arrays: Mapping[str, npt.NDArray[Any]],
        meta: Mapping[str, Any],
        replaces: bool = False,
    ) -> Artifact:
        """Write arrays and what is known about them as one artifact, and return it.

        Args:
            kind: of the artifact.
            key: of its content.
            arrays: each becomes a file.
            meta: what is known about them.
            replaces: take the place of what is there, in one step; otherwise that stays.
        """
        with self.writing(kind, key, meta=meta, replaces=replaces) as folder:
            # `numpy.save` does not notice a disk that fills up as it closes a file.
            for name, array in arrays.items():
                contiguous = np.ascontiguousarray(array)
                header = np.lib.format.header_data_from_array_1_0(contiguous)
                with (folder / f"{name}.npy").open("wb") as handle:
                    np.lib.format.write_array_header_1_0(handle, header)
                    handle.write(contiguous.data)
        return self._written(kind, key)

    @contextmanager
    def writing(
        self,
        kind: str,
        key: str,
        *,
        meta: dict[str, Any] | Mapping[str, Any],
        replaces: bool = False,
    ) -> Iterator[Path]:
        """Give a temporary folder to fill; publish it as the artifact when the block ends well.

        `meta` is read when the block ends, so the block may add to it. `replaces` is as of `put`.

        Raises:
            HarnessError: the store cannot be written (full, read-only, no permission).
        """
        try:
            with self._staging() as staging:
                yield staging
                seal_files(staging, kind, key, meta)
                if replaces:
                    self._replace(staging, kind, key)
                self._publish(staging, kind, key)
        except OSError as error:
            if error.filename is not None and not str(error.filename).startswith(str(self.root)):
                raise
            raise _cannot_write(self.root, error) from error

    def check_writable(self) -> None:
        """Raise the error that the first write would raise, before any work is done.

        What killed processes left half-written is removed, and what was found to be damaged.
        """
        try:
            with self._staging() as probe:
                (probe / "probe").write_bytes(b"\0" * 4096)
            for path in [path for path in _reported if path.is_relative_to(self.root)]:
                self._remove_damaged(path.parent.relative_to(self.root).as_posix(), path.name)
        except OSError as error:
            raise _cannot_write(self.root, error) from error

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """Give an empty folder, after what killed processes left of theirs is removed."""
        for _ in dead(self.root / STAGING, _WRITING):
            pass
        with scratch(self.root / STAGING, _WRITING) as folder:
            yield folder

    def _replace(self, staging: Path, kind: str, key: str) -> None:
        """Exchange an artifact with one that is there, or take that one away."""
        with self._removing():
            if not exchange(staging, self.root / kind / key):
                self._take_away(kind, key)

    def _publish(self, staging: Path, kind: str, key: str) -> None:
        target = self.root / kind / key
        target.parent.mkdir(parents=True, exist_ok=True)
        while self._found(kind, key) is None:
            try:
                staging.rename(target)
                break
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            self._remove_damaged(kind, key)
        flush(target.parent)

    def _remove_damaged(self, kind: str, key: str) -> None:
        """Remove an artifact of which a file was lost or changed by the disk.

        Nobody renames onto a folder that holds files, and only the owner of the lock takes one
        away: so what was there and is not whole is still the damaged one when it is removed.
        """
        target = self.root / kind / key
        with self._removing():
            if target.exists() and self._found(kind, key) is None:
                with self._staging() as folder:
                    target.rename(folder / "damaged")

    def _removing(self) -> FileLock:
        """Return the lock that is held to take an artifact away that is to be made again."""
        return FileLock(self.root / "damaged.lock")

    def _written(self, kind: str, key: str) -> Artifact:
        artifact = self.get(kind, key)
        if artifact is None:
            raise HarnessError(
                f"store {self.root}: {kind}/{key} was written and cannot be read back. "
                "Check the disk.",
                exit_code=ExitCode.STAGE,
            )
        return artifact


def _cannot_write(root: Path, error: OSError) -> UnwritableError:
    instead = "another folder with --store (in Python: store=…) or HARNESS_STORE"
    return cannot_write(f"store {root}", error, instead=instead)


def default_store() -> str | Path:
    """Return ``$HARNESS_STORE``, a URL as it is, else ``./.harness``."""
    return folder_or_url(os.environ.get("HARNESS_STORE") or ".harness")


def folder_or_url(place: str | Path) -> str | Path:
    """Return where a store lies: the text of a URL, or the path of a folder.

    >>> folder_or_url("s3://bucket/team"), folder_or_url("folder/store").name
    ('s3://bucket/team', 'store')
    """
    return place if isinstance(place, str) and "://" in place else Path(place)
