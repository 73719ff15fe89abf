"""Store: artifacts addressed by content, complete or absent, safe against a kill at any moment."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from harness.errors import ExitCode, HarnessError

META = "meta.json"
_ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Artifact:
    """A complete artifact: a folder of arrays and files, and what is known about it."""

    path: Path
    meta: Mapping[str, Any] = field(repr=False)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return the array `name`, memory-mapped read-only."""
        array: npt.NDArray[Any] = np.load(self.path / f"{name}.npy", mmap_mode="r")
        return array


class Store:
    """Artifacts under ``<root>/<kind>/<key>/``.

    An artifact is written to a temporary folder, flushed to disk, and renamed into place; its
    `meta.json` lists every file with its size and is written last. So what is found is whole, and
    what was interrupted is invisible. Two processes that make the same artifact do harmless double
    work: the first rename wins.

    Args:
        root: folder of the store; created on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, kind: str, key: str) -> Artifact | None:
        """Return the artifact, or None where it is absent or any of its files has another size."""
        path = self.root / kind / key
        try:
            meta = json.loads((path / META).read_text("utf-8"))
            sizes: dict[str, int] = meta["files"]
            whole = all((path / name).stat().st_size == size for name, size in sizes.items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # absent, or not what `writing` writes
        return Artifact(path, meta) if whole else None

    def remove(self, kind: str, key: str) -> None:
        """Take an artifact away that is to be made again, its metadata first; it may be absent."""
        folder = self.root / kind / key
        (folder / META).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def list(self, kind: str) -> list[Artifact]:
        """Return all artifacts of a kind, in the order of their keys."""
        folder = self.root / kind
        keys = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        found = (self.get(kind, key) for key in keys)
        return [artifact for artifact in found if artifact is not None]

    def put(
        self,
        kind: str,
        key: str,
        *,
        arrays: Mapping[str, npt.NDArray[Any]],
        meta: Mapping[str, Any],
    ) -> Artifact:
        """Write arrays and what is known about them as one artifact, and return it."""
        with self.writing(kind, key, meta=meta) as folder:
            for name, array in arrays.items():
                _save_array(folder / f"{name}.npy", array)
        return self._written(kind, key)

    @contextmanager
    def writing(
        self, kind: str, key: str, *, meta: dict[str, Any] | Mapping[str, Any]
    ) -> Iterator[Path]:
        """Give a temporary folder to fill; publish it as the artifact when the block ends well.

        `meta` is read when the block ends, so the block may add to it.

        Raises:
            HarnessError: the store can not be written (full, read-only, no permission).
        """
        staging = self.root / "staging" / uuid.uuid4().hex
        try:
            staging.mkdir(parents=True)
            yield staging
            self._publish(staging, kind, key, meta)
        except OSError as error:
            if error.filename is not None and not str(error.filename).startswith(str(self.root)):
                raise
            raise _cannot_write(self.root, error) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def check_writable(self) -> None:
        """Raise the error that the first write would raise, before any work is done.

        What a kill left half-written more than a day ago is removed.
        """
        for left in (self.root / "staging").glob("*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(left)
        probe = self.root / "staging" / uuid.uuid4().hex
        try:
            probe.mkdir(parents=True)
            (probe / "probe").write_bytes(b"\0" * 4096)
        except OSError as error:
            raise _cannot_write(self.root, error) from error
        finally:
            shutil.rmtree(probe, ignore_errors=True)

    def _publish(self, staging: Path, kind: str, key: str, meta: Mapping[str, Any]) -> None:
        target = self.root / kind / key
        files = {
            str(path.relative_to(staging)): path.stat().st_size
            for path in sorted(staging.rglob("*"))
            if path.is_file()
        }
        for name in files:
            _flush(staging / name)
        (staging / META).write_text(json.dumps({**meta, "files": files}, indent=1), "utf-8")
        _flush(staging / META)
        target.parent.mkdir(parents=True, exist_ok=True)
        while self.get(kind, key) is None:
            try:
                staging.rename(target)
                break
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            self._remove_damaged(kind, key)
        _flush(target.parent)

    def _remove_damaged(self, kind: str, key: str) -> None:
        """Remove an artifact of which a file was lost or cut short by the disk.

        Nobody renames onto a folder that holds files, and only the owner of the lock takes one
        away: so what was there and is not whole is still the damaged one when it is removed.
        """
        target = self.root / kind / key
        with FileLock(self.root / "damaged.lock"):
            if target.exists() and self.get(kind, key) is None:
                shutil.rmtree(target.rename(self.root / "staging" / uuid.uuid4().hex))

    def _written(self, kind: str, key: str) -> Artifact:
        artifact = self.get(kind, key)
        if artifact is None:
            raise HarnessError(
                f"store {self.root}: {kind}/{key} was written and can not be read back. "
                "Check the disk.",
                exit_code=ExitCode.STAGE,
            )
        return artifact


def _save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a ``.npy`` file. `numpy.save` does not notice a disk that fills up as it closes one."""
    contiguous = np.ascontiguousarray(array)
    header = np.lib.format.header_data_from_array_1_0(contiguous)
    with path.open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
        handle.write(contiguous.data)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(root: Path, error: OSError) -> HarnessError:
    return HarnessError(
        f"store {root}: can not write, got {error.strerror or f'{error} (disk full?)'}. "
        "Free space or permissions there, or name another folder with --store or HARNESS_STORE.",
        exit_code=ExitCode.STAGE,
    )


def default_store() -> Path:
    """Return ``$HARNESS_STORE``, else ``./.harness``."""
    return Path(os.environ.get("HARNESS_STORE") or ".harness")
