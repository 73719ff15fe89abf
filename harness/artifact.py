"""Artifact: a folder of arrays and files that is whole or is none, by sizes and checksums.

Its `meta.json` lists every file with its size and checksum, and has a checksum of its own that
holds for one place in a store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import ExitCode, HarnessError
from harness.hashing import digest, file_digest

META = "meta.json"
CHECKSUMS = "checksums"

# Files that this process has found whole, by inode and checksum.
_verified: set[tuple[int | str, ...]] = set()


@dataclass(frozen=True)
class Artifact:
    """A complete artifact: a folder of arrays and files, and what is known about it."""

    path: Path
    meta: Mapping[str, Any] = field(repr=False)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return the array `name`, memory-mapped read-only.

        Raises:
            HarnessError: exit code 4, the file is damaged, and was written without a checksum.
        """
        path = self.path / f"{name}.npy"
        try:
            array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
        except Exception as error:  # numpy parses the header as Python, with all its exceptions
            raise HarnessError(
                f"{path}: not readable as an array, got {error}. Remove the folder "
                f"{self.path}; the same command makes it again.",
                exit_code=ExitCode.STAGE,
            ) from error
        return array


def seal_files(staging: Path, kind: str, key: str, meta: Mapping[str, Any]) -> None:
    """Flush the files to disk, and write the metadata with their sizes and checksums."""
    paths = [path for path in sorted(staging.rglob("*")) if path.is_file()]
    names = [path.relative_to(staging).as_posix() for path in paths]
    sizes = {name: path.stat().st_size for name, path in zip(names, paths, strict=True)}
    checksums = {name: _checksum(path) for name, path in zip(names, paths, strict=True)}
    for path in paths:
        flush(path)
    body = {**meta, "files": sizes}
    checksums[META] = _seal(kind, key, body)
    text = json.dumps({**body, CHECKSUMS: checksums}, indent=1)
    (staging / META).write_text(text, "utf-8")
    flush(staging / META)


def whole_in(path: Path, kind: str, key: str) -> Artifact | None:
    """Return the artifact in a folder, or None where it is not what `writing` has written."""
    try:
        meta = json.loads((path / META).read_text("utf-8"))
        sealed = CHECKSUMS in meta
        checksums: dict[str, str] = meta.pop(CHECKSUMS, {})
        sizes: dict[str, int] = meta["files"]
        whole = all((path / name).stat().st_size == size for name, size in sizes.items())
        if sealed:
            whole = whole and _seal(kind, key, meta) == checksums[META]
            # Each is read once a process, unless it changes.
            whole = whole and all(
                _state(path / name, checksums[name]) in _verified
                or _checksum(path / name) == checksums[name]
                for name in sizes
            )
        else:  # of an older version, unless it is the word itself that is damaged
            whole = whole and not any(isinstance(v, dict) and META in v for v in meta.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Artifact(path, meta) if whole else None


def identity(folder: Path) -> tuple[int, int, int] | None:
    """Return what tells a folder from one that takes its place, which may have its old inode."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_ctime_ns) if folder.is_dir() else None


def _seal(kind: str, key: str, meta: Mapping[str, Any]) -> str:
    """Return the checksum of an artifact's metadata at its place in the store."""
    return digest(kind, key, json.dumps(json.loads(json.dumps(meta)), sort_keys=True))


def _checksum(path: Path) -> str:
    checksum = file_digest(path)
    _verified.add(_state(path, checksum))
    return checksum


def _state(path: Path, checksum: str) -> tuple[int | str, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, checksum


def flush(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
