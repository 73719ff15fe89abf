"""Shared store: artifacts at a URL, such as `s3://bucket/team`, behind a folder of this machine.

What is read is fetched once into the folder, where arrays are mapped into memory; what is written
is published in the folder and then sent. At the URL an artifact lies under ``<kind>/<key>/`` as it
does in a folder, but each file carries its checksum in its name, and `meta.json` is sent last. So
what was cut off is invisible, an artifact is replaced in one step, and two writers of one key never
mix their files.

The credentials are those that fsspec and the client of the service find by themselves, in the
environment or their own files; none is ever written here.
"""

from __future__ import annotations

import io
import json
import math
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from harness.artifact import CHECKSUMS, META, Artifact, whole_in
from harness.errors import ExitCode, HarnessError, cannot_write
from harness.hashing import digest
from harness.store import STAGING, Entry, Store, folder_or_url

# Of this machine: by the inodes of its files, or by how fast it is.
_LOCAL = {"files", "models", "rates", "receipts"}
_CACHE = "~/.cache/embedding-harness"
_AT_ONCE = 8  # artifacts on their way
_HEAD_BYTES = 128  # of a `.npy` file
_FRESH_SECONDS = 10.0  # that a listing is believed; what others store meanwhile is made twice
_BEAT_SECONDS, _DEAD_SECONDS = 60.0, 600.0
_RUNNING, _PRUNING = "running-", "pruning-"


def store_at(place: str | Path) -> Store:
    """Return the store in a folder or at a URL; ``file://`` is a folder.

    Raises:
        HarnessError: exit code 2, the URL holds a password, or nothing installed can read it.
    """
    where = folder_or_url(place)
    if isinstance(where, Path):
        return Store(where)
    if where.startswith("file://"):
        return Store(Path(where.removeprefix("file://")))
    return SharedStore(where)


class _Listing(NamedTuple):
    """What lies below a kind at the URL.

    Attributes:
        at: when it was read, in seconds of the monotonic clock.
        whole: keys whose metadata is there.
        names: of all that lies directly below.
    """

    at: float
    whole: set[str]
    names: set[str]


@dataclass(frozen=True)
class _Distant(Artifact):
    """An artifact of which only the metadata is known to be here; reading more fetches it."""

    fetch: Callable[[], object] = field(repr=False)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return the array `name`, memory-mapped read-only, after the artifact was fetched."""
        self.fetch()
        return super().array(name)


class SharedStore(Store):
    """A store at a URL of fsspec, with a folder of this machine in front of it.

    The folder is a store of its own: `$HARNESS_CACHE`, else `~/.cache/embedding-harness`, and below
    it a name for each URL. What lies there is taken as it is, so that an artifact that another
    machine has replaced since is the older one here.

    Args:
        url: such as ``s3://bucket/prefix``.

    Raises:
        HarnessError: exit code 2, it holds a password, or nothing installed can read it.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        cache = Path(os.environ.get("HARNESS_CACHE") or _CACHE).expanduser()
        super().__init__(cache / digest("store", self._url)[:12])
        self._fs, base = open_url(self._url)
        self._base = base.rstrip("/")
        self._listings: dict[str, _Listing] = {}
        self._damaged: set[tuple[str, str]] = set()
        self._seen: dict[tuple[str, str], Artifact] = {}

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return self._url

    def look_again(self) -> None:
        """Forget what was seen at the URL: others have written since."""
        self._listings.clear()

    def get(self, kind: str, key: str) -> Artifact | None:
        """Return the artifact, fetched if need be; None where it is absent or damaged."""
        found = self._found(kind, key)
        if _is_local(kind):
            return found
        if found is None:
            return self._fetched(kind, key)
        self._send(kind, key)  # unless it is there: a kill may have come before it was sent
        return found

    def glance(self, kind: str, key: str) -> Artifact | None:
        """Return an artifact by its metadata, which alone is fetched; None where it is absent."""
        here = super().glance(kind, key)
        if here is not None or _is_local(kind) or key not in self._listed(kind).whole:
            return here
        if (kind, key) not in self._seen:
            with self._reading(), suppress(FileNotFoundError, ValueError):
                meta = json.loads(self._fs.cat_file(self._at(kind, key, META)))
                fetch = partial(self.get, kind, key)
                self._seen[kind, key] = _Distant(self.root / kind / key, meta, fetch)
        return self._seen.get((kind, key))

    def seen(self, kind: str, key: str) -> Artifact | None:
        """Return an artifact to know that it is there, by its metadata where it is not here.

        Whether its files are whole is seen when they are fetched. Those that are not are absent for
        everybody from then on.
        """
        is_here = (self.root / kind / key).is_dir() or _is_local(kind)
        return self.get(kind, key) if is_here else self.glance(kind, key)

    def ranges(
        self, kind: str, key: str, name: str, runs: Sequence[tuple[int, int]]
    ) -> list[npt.NDArray[Any]] | None:
        """Return some runs of an array at the URL, which alone are fetched and are not checked.

        Args:
            kind: of the artifact.
            key: of its content.
            name: of the array.
            runs: each from its first element to the one after its last.

        Returns:
            one array a run; None where the artifact is absent.
        """
        found = self.glance(kind, key)
        if found is None:
            return None
        path = self._at(kind, key, _sent_as(f"{name}.npy", found.meta[CHECKSUMS]))
        with self._reading():
            head = io.BytesIO(self._fs.cat_file(path, start=0, end=_HEAD_BYTES))
            np.lib.format.read_magic(head)
            (_, *width), _, dtype = np.lib.format.read_array_header_1_0(head)
            size = dtype.itemsize * math.prod(width)
            # A service refuses a range of nothing.
            starts, stops = (
                [head.tell() + run[side] * size for run in runs if run[0] < run[1]]
                for side in (0, 1)
            )
            paths = [path] * len(starts)
            bodies = iter(self._fs.cat_ranges(paths, starts, stops, on_error="raise"))
        every = (next(bodies) if start < stop else b"" for start, stop in runs)
        return [np.frombuffer(body, dtype).reshape(-1, *width) for body in every]

    def is_whole(self, kind: str, key: str) -> bool:
        """Tell whether an artifact is at the URL with all of its files as they were written."""
        if _is_local(kind):
            return super().is_whole(kind, key)
        with self._staging() as folder:
            return self._download(kind, key, folder)

    def list(self, kind: str) -> list[Artifact]:
        """Return all artifacts of a kind, in the order of their keys."""
        if not _is_local(kind):
            self.bring(kind, self._listed(kind).whole)
        return super().list(kind)

    def bring(self, kind: str, keys: Iterable[str]) -> None:
        """Fetch artifacts that are about to be read, several at a time."""
        self._several(self.get, kind, keys)

    def bring_metadata(self, kind: str, keys: Iterable[str]) -> None:
        """Fetch the metadata of artifacts, several at a time."""
        self._several(self.glance, kind, keys)

    def _several(self, fetch: Callable[[str, str], object], kind: str, keys: Iterable[str]) -> None:
        absent = [key for key in keys if not (self.root / kind / key).is_dir()]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for _ in threads.map(lambda key: fetch(kind, key), absent):
                pass

    def names(self, kind: str) -> Sequence[str]:
        """Return the names of what lies directly below a kind: keys, or parts of longer kinds."""
        here = super().names(kind)
        return here if _is_local(kind) else sorted({*here, *self._listed(kind).names})

    def entries(self) -> Iterator[Entry]:
        """Yield everything that is stored at the URL, in order of kinds and keys."""
        with self._reading():
            self._fs.invalidate_cache()
            found = self._fs.find(self._base, detail=True)
        sizes = {path[len(self._base) + 1 :]: each["size"] or 0 for path, each in found.items()}
        folders = {path.rpartition("/")[0] for path in sizes}
        held: dict[str, list[str]] = {}
        for path in sorted(sizes):
            parts = path.split("/")
            above = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
            held.setdefault(next((each for each in above if each in folders), ""), []).append(path)
        for folder in sorted(held.keys() - {"", STAGING}):
            kind, _, key = folder.rpartition("/")
            written = max(self._time_of(self._at(path), found) for path in held[folder])
            size = sum(sizes[path] for path in held[folder])
            is_cut_off = f"{folder}/{META}" not in sizes
            yield Entry(kind, key, self.root / kind / key, size, written, is_cut_off)

    def remove(self, kind: str, key: str) -> None:
        """Take an artifact away, at the URL first; it may be absent.

        Where an upload was cut off, what is whole here stays: it is sent when it is read again.
        """
        if not _is_local(kind):
            listed = self._listed(kind)
            is_cut_off = key in listed.names - listed.whole
            with self._writing():
                place = self._at(kind, key)
                for path in (f"{place}/{META}", place):
                    with suppress(FileNotFoundError):
                        self._fs.rm(path, recursive=path == place)
            self._listings.pop(kind, None)
            self._seen.pop((kind, key), None)
            if is_cut_off:
                return
        super().remove(kind, key)

    @contextmanager
    def writing(
        self,
        kind: str,
        key: str,
        *,
        meta: dict[str, Any] | Mapping[str, Any],
        replaces: bool = False,
    ) -> Iterator[Path]:
        """Give a temporary folder to fill; publish it here and at the URL when the block ends well.

        Raises:
            HarnessError: the folder or the URL cannot be written.
        """
        with super().writing(kind, key, meta=meta, replaces=replaces) as folder:
            yield folder
        if not _is_local(kind):
            self._send(kind, key, replaces=replaces)

    def check_writable(self) -> None:
        """Raise the error that the first write would raise, before any work is done."""
        super().check_writable()
        with self._writing():
            probe = self._at(STAGING, f"probe-{uuid.uuid4().hex}")
            self._fs.pipe_file(probe, b"0")
            self._fs.rm_file(probe)

    def lease(self) -> None:
        """Keep `discard` from taking anything away until this object or the process is gone.

        A machine that is lost keeps it for ten minutes. Waits while another machine prunes.
        """
        super().lease()
        held = ExitStack()
        with self._writing():
            held.enter_context(
                _beating(self._fs, self._at(STAGING, f"{_RUNNING}{uuid.uuid4().hex}"))
            )
            while self._alive(_PRUNING):
                time.sleep(1)
        weakref.finalize(self, held.close)

    @contextmanager
    def discarding(self) -> Iterator[None]:
        """Let nobody begin to use the store in this block, on any machine.

        Raises:
            HarnessError: exit code 4, somebody uses it.
        """
        with super().discarding(), ExitStack() as held:
            with self._writing():
                own = self._at(STAGING, f"{_PRUNING}{uuid.uuid4().hex}")
                held.enter_context(_beating(self._fs, own))
                used = self._alive(_RUNNING)
            if used:
                raise HarnessError(
                    f"store {self.name}: a run is using it, and may need anything there. Repeat "
                    "the command when it has ended; of a machine that was lost, after ten minutes.",
                    exit_code=ExitCode.STAGE,
                )
            yield

    def _at(self, *parts: str) -> str:
        return "/".join((self._base, *parts))

    def _listed(self, kind: str) -> _Listing:
        """Return what lies below a kind at the URL, as it was seen some seconds ago."""
        known = self._listings.get(kind)
        if known is not None and time.monotonic() - known.at < _FRESH_SECONDS:
            return known
        with self._reading():
            self._fs.invalidate_cache()
            now = time.monotonic()
            place = self._at(kind)
            below = [path[len(place) + 1 :].split("/") for path in self._fs.find(place)]
        whole = {parts[0] for parts in below if parts[1:] == [META]}
        self._listings[kind] = _Listing(now, whole, {parts[0] for parts in below})
        return self._listings[kind]

    def _fetched(self, kind: str, key: str) -> Artifact | None:
        """Return an artifact after it was fetched; None where it is absent or damaged."""
        if (kind, key) in self._damaged or key not in self._listed(kind).whole:
            return None
        with self._staging() as folder:
            if not self._download(kind, key, folder):
                self._damaged.add((kind, key))
                self._seen.pop((kind, key), None)
                self._report_damage(self.root / kind / key)
                self._disown(kind, key, folder)
                return None
            self._publish(folder, kind, key)
        return self._found(kind, key)

    def _download(self, kind: str, key: str, folder: Path) -> bool:
        """Fill a folder with the files of an artifact; tell whether they are as they were written.

        Metadata that makes no sense, or that another machine has taken away, makes it none.
        """
        place = self._at(kind, key)
        with self._reading():
            try:
                text = self._fs.cat_file(f"{place}/{META}")
                (folder / META).write_bytes(text)
                checksums = json.loads(text)[CHECKSUMS]
                names = [name for name in checksums if name != META]
                for name in names:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                sources = [f"{place}/{_sent_as(name, checksums)}" for name in names]
                self._fs.get(sources, [str(folder / name) for name in names])
            except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
                return False
        return whole_in(folder, kind, key) is not None

    def _disown(self, kind: str, key: str, folder: Path) -> None:
        """Take the metadata of a damaged artifact away at the URL, so that it is made again.

        Only where it is what was downloaded to the folder: another machine may have replaced it.
        """
        place = self._at(kind, key, META)
        with suppress(Exception):  # it may be gone, or nothing may be written there
            if self._fs.cat_file(place) == (folder / META).read_bytes():
                self._fs.rm_file(place)

    def _send(self, kind: str, key: str, *, replaces: bool = False) -> None:
        """Send an artifact, its metadata last, unless it is there."""
        is_there = key in self._listed(kind).whole and (kind, key) not in self._damaged
        if is_there and not replaces:
            return
        folder, place = self.root / kind / key, self._at(kind, key)
        text = (folder / META).read_bytes()
        checksums = json.loads(text)[CHECKSUMS]
        names = [name for name in checksums if name != META]
        with self._writing():
            targets = [f"{place}/{_sent_as(name, checksums)}" for name in names]
            self._fs.put([str(folder / name) for name in names], targets)
            self._fs.pipe_file(f"{place}/{META}", text)
        self._damaged.discard((kind, key))
        self._listings[kind].whole.add(key)
        self._listings[kind].names.add(key)

    def _alive(self, prefix: str) -> bool:
        """Tell whether a process runs, or prunes, anywhere; the mark of a lost one is too old."""
        self._fs.invalidate_cache()
        found = self._fs.find(self._at(STAGING), detail=True)
        times = {path: self._time_of(path, found) for path in found}
        now = max(times.values(), default=0.0)  # by the clock of the service: one's own is there
        wanted = self._at(STAGING, prefix)
        return any(p.startswith(wanted) and now - times[p] < _DEAD_SECONDS for p in times)

    def _time_of(self, path: str, found: Mapping[str, Any]) -> float:
        """Return when a file was written, in seconds since 1970."""
        said = found[path].get("LastModified") or self._fs.modified(path)
        written: float = said.timestamp()
        return written

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each client has exceptions of its own
            raise HarnessError(
                f"store {self.name}: cannot be read, got {_said(error)}. Check the address, and "
                "the credentials of this machine.",
                exit_code=ExitCode.STAGE,
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except HarnessError:
            raise
        except Exception as error:  # each client has exceptions of its own
            said = OSError(0, _said(error))
            instead = "another store with --store (in Python: store=…) or HARNESS_STORE"
            raise cannot_write(f"store {self.name}", said, instead=instead) from error


def open_url(url: str, what: str = "store") -> tuple[Any, str]:
    """Return the file system of a URL, and the place in it.

    Args:
        url: of fsspec.
        what: it is, for messages.

    Raises:
        HarnessError: exit code 2, the URL holds a password, or nothing installed can read it.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        fix = "Leave it out: the client finds credentials in the environment or its own files."
        raise HarnessError(
            f"{what} {parts.scheme}://…: the URL holds credentials. {fix}",
            exit_code=ExitCode.USAGE,
        )
    from fsspec.core import url_to_fs
    from fsspec.registry import available_protocols

    known = available_protocols()
    if parts.scheme not in known:
        near = get_close_matches(parts.scheme, known, 1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'?" if near else "Write one of fsspec's, such as s3 or gs."
        raise HarnessError(
            f"{what} {url}: unknown scheme '{parts.scheme}'. {hint}", exit_code=ExitCode.USAGE
        )
    try:
        found: tuple[Any, str] = url_to_fs(url)
    except (ImportError, ValueError) as error:
        extra = (
            "pip install 'embedding-harness[s3]'"
            if parts.scheme == "s3"
            else "fsspec's package for it"
        )
        raise HarnessError(
            f"{what} {url}: fsspec cannot open {parts.scheme}://, got {_said(error)}. Install what "
            f"it needs: {extra}.",
            exit_code=ExitCode.USAGE,
        ) from error
    return found


def _is_local(kind: str) -> bool:
    return kind.partition("/")[0] in _LOCAL


def _sent_as(name: str, checksums: Mapping[str, str]) -> str:
    """Return what a file of an artifact is called at the URL.

    >>> _sent_as("vectors.npy", {"vectors.npy": "3f2a"})
    'vectors.npy.3f2a'
    """
    return f"{name}.{checksums[name]}"


@contextmanager
def _beating(fs: Any, path: str) -> Iterator[None]:
    """Keep a small object new, as long as the block runs and this process does."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT_SECONDS):
            with suppress(Exception):  # the next may reach it
                fs.pipe_file(path, b"0")

    fs.pipe_file(path, b"0")
    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        with suppress(Exception):  # it is taken for dead soon
            fs.rm_file(path)


def _said(error: Exception) -> str:
    """Return the first line of what an exception says."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
