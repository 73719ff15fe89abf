"""Files at a URL of fsspec, such as `s3://bucket/folder`, read as if they were paths.

The credentials are those that the client of the service finds by itself, in the environment or in
its own files.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PosixPath
from typing import Any, Self

from harness.errors import ExitCode, HarnessError
from harness.hashing import digest, file_digest
from harness.shared_store import open_url

_BLOCK = 8 * 2**20  # bytes that are fetched at a time


class RemotePath(PosixPath):
    """A file or folder at a URL; what reads it fetches a few MB at a time.

    Every method raises `HarnessError`, exit code 3, where the service does not answer or gives no
    permission. What is absent is absent, as on a disk.
    """

    def __str__(self) -> str:
        scheme, _, place = super().__str__().partition(":")
        return f"{scheme}:/{place or '/'}"

    def __fspath__(self) -> str:
        return str(self)

    @property
    def _fs(self) -> Any:
        return open_url(str(self), "source")[0]

    def _info(self) -> dict[str, Any] | None:
        """Return what the service knows of it; None where nothing is there."""
        with self.asked():
            try:
                found: dict[str, Any] = self._fs.info(str(self))
            except FileNotFoundError:
                return None
        return found

    def exists(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        """Tell whether something is there."""
        return self._info() is not None

    def is_dir(self) -> bool:
        """Tell whether it is a folder."""
        found = self._info()
        return found is not None and found["type"] == "directory"

    def is_file(self) -> bool:
        """Tell whether it is a file."""
        found = self._info()
        return found is not None and found["type"] == "file"

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002
        """Return the size of a file, and nothing else."""
        found = self._info()
        if found is None:
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, found["size"] or 0, 0, 0, 0))

    def iterdir(self) -> Generator[Self, None, None]:
        """Yield what lies in a folder."""
        with self.asked():
            root = self._fs._strip_protocol(str(self))
            found = {path.rstrip("/") for path in self._fs.ls(str(self), detail=False)} - {root}
        yield from (self / path.rpartition("/")[2] for path in sorted(found))

    def glob(self, pattern: str) -> Iterator[Self]:  # type: ignore[override]
        """Yield what lies in a folder and has such a name."""
        yield from (path for path in self.iterdir() if fnmatch(path.name, pattern))

    def rglob(self, pattern: str) -> Iterator[Self]:  # type: ignore[override]
        """Yield the files below a folder that have such a name."""
        with self.asked():
            root, found = self._fs._strip_protocol(str(self)), self._fs.find(str(self))
        below = (self / path[len(root) :].lstrip("/") for path in sorted(found))
        yield from (path for path in below if fnmatch(path.name, pattern))

    def open(self, mode: str = "r", *_: Any, encoding: str | None = None, **__: Any) -> Any:
        """Open a file to read it, ``r`` or ``rb``."""
        with self.asked():
            file = self._fs.open(str(self), "rb", block_size=_BLOCK, cache_type="readahead")
        binary = io.BufferedReader(_Remote(file, self), 2**20)
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding or "utf-8")

    def digest(self) -> str:
        """Return a key of the content: by the service's own checksum, else by its bytes."""
        self._fs.invalidate_cache()  # of what the client has seen before
        found = self._info() or {}
        if "ETag" in found:
            return digest("remote", found["ETag"], found["size"])
        return file_digest(self)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Tell what the client of the service raises in this block as a `HarnessError`."""
        try:
            yield
        except (FileNotFoundError, HarnessError):
            raise
        except Exception as error:  # each client has exceptions of its own
            said = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise HarnessError(
                f"{self}: cannot be read, got {said}. Check the address, and the credentials of "
                "this machine.",
                exit_code=ExitCode.DATA,
            ) from error


class _Remote(io.RawIOBase):
    """The bytes of a remote file."""

    def __init__(self, file: Any, path: RemotePath) -> None:
        self._file, self._path = file, path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with self._path.asked():
            return int(self._file.readinto(buffer))


def path_of(text: str) -> Path:
    """Return the path of a file or folder, here or at a URL.

    >>> str(path_of("s3://bucket/folder/corpus.jsonl")), path_of("folder").name
    ('s3://bucket/folder/corpus.jsonl', 'folder')

    Raises:
        HarnessError: exit code 2, a URL holds credentials, or nothing installed can read it.
    """
    if "://" not in text:
        return Path(text)
    open_url(text, "source")[0].invalidate_cache()
    return RemotePath(text)
