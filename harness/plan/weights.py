"""Weights, remembered: what the files of a model declare is read and checked once.

A tokenizer of some megabytes takes longer to parse and to load than the rest of a plan, so what was
read is kept in the store under the content of the files. Small models are read faster than found.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from harness import models
from harness.collection.remembered import FEWEST_BYTES, remembered_digest
from harness.environment import package_version
from harness.errors import HarnessError
from harness.hashing import code_digest, digest, file_digest
from harness.models.folder import Choices
from harness.models.weights import Weights, find_folder, read_weights
from harness.store import Store

_KIND = "models"
_READING = ("tokenizers", "transformers")  # packages that decide whether a model can be loaded


def remembered_weights(
    reference: str, *, revision: str | None, download: bool, chosen: Choices, store: Store
) -> Weights:
    """Return what `find_weights` returns, from the store where the files are as they were.

    Raises:
        HarnessError: as of `find_weights`.
    """
    folder, names = find_folder(reference, revision=revision, download=download)
    if sum((folder / name).stat().st_size for name in names) < FEWEST_BYTES:
        return read_weights(reference, folder, names, chosen=chosen)
    digests = {name: _digest(folder / name, store) for name in names}
    reading = [code_digest(Path(models.__file__).parent), *map(package_version, _READING)]
    key = digest("model", reading, reference, str(folder), digests, asdict(chosen))
    stored = store.get(_KIND, key)
    if stored is not None:
        found = stored.meta["found"]
        lists = {name: tuple(found[name]) for name in ("files", "doubts")}
        return Weights(**{**found, **lists}, folder=folder, chosen=chosen)
    weights = read_weights(
        reference, folder, names, chosen=chosen, digest_of=lambda path: _digest(path, store)
    )
    with suppress(HarnessError, OSError):
        found = {k: v for k, v in asdict(weights).items() if k not in {"folder", "chosen"}}
        store.put(_KIND, key, arrays={}, meta={"found": found})
    return weights


def _digest(path: Path, store: Store) -> str:
    """Return `file_digest` of a model's file, large ones read once until they change."""
    if path.stat().st_size < FEWEST_BYTES:
        return file_digest(path)
    return remembered_digest(path, store=store)
