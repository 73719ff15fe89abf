"""Content keys: one canonical hash of plain values, arrays and texts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_DIGEST_BYTES = 16


def digest(*parts: Any) -> str:
    """Return the hexadecimal content key (32 characters) of a sequence of plain values.

    Accepts None, bool, int, float, str, bytes, numpy arrays, and sequences and mappings of these.
    Every value is written with its type and length, so that no two different inputs read alike.

    Raises:
        TypeError: for any other type, whose text would not be stable.

    >>> digest("a", 1) == digest("a", 1)
    True
    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    _update(hasher, parts)
    return hasher.hexdigest()


def _update(hasher: Any, value: Any) -> None:
    body: bytes | memoryview
    match value:
        case None | bool() | int() | float():
            body, tag = repr(value).encode(), type(value).__name__
        case str():
            body, tag = value.encode("utf-8", "surrogatepass"), "str"
        case bytes():
            body, tag = value, "bytes"
        case np.ndarray() if not value.dtype.hasobject:
            # Not copied: it may be of millions of documents.
            body = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
            tag = f"array{value.dtype.str}{value.shape}"
        case Mapping():
            hasher.update(f"map:{len(value)}:".encode())
            for key in sorted(value):
                _update(hasher, key)
                _update(hasher, value[key])
            return
        case Sequence():
            hasher.update(f"list:{len(value)}:".encode())
            for item in value:
                _update(hasher, item)
            return
        case _:
            raise TypeError(f"no stable content key for {type(value).__name__}")
    hasher.update(f"{tag}:{len(body)}:".encode())
    hasher.update(body)


def text_hashes(texts: Iterable[str]) -> npt.NDArray[np.uint8]:
    """Return one 16-byte content hash per text, uint8 [n, 16]."""
    joined = bytearray()
    for text in texts:
        body = text.encode("utf-8", "surrogatepass")
        joined += hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, _DIGEST_BYTES)


def file_digest(path: Path) -> str:
    """Return the content key of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(
            handle, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES)
        ).hexdigest()


@cache
def code_digest(*places: Path) -> str:
    """Return the content key of source files, and of those of folders.

    What is worked out again from stored values is kept under the code that did it, so that a
    changed rule is never answered from the store.
    """
    files = [
        each for place in places for each in ([place] if place.is_file() else place.rglob("*"))
    ]
    found = sorted((path.name, file_digest(path)) for path in files if path.suffix == ".py")
    return digest(found)
