"""Weights: what a model's files declare, read once, and what a training leaves: a stage that is a
source of models, and files.

A tokenizer of some megabytes takes longer to parse and to load than the rest of a plan, so what was
read is kept in the store under the content of the files. Small models are read faster than found.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness import models
from harness.collection.remembered import FEWEST_BYTES, remembered_digest
from harness.environment import package_version
from harness.errors import HarnessError
from harness.hashing import code_digest, digest, file_digest
from harness.models.folder import AS_PUBLISHED, Choices
from harness.models.source import ModelSource
from harness.models.weights import Weights, find_folder, read_weights
from harness.stage import InputMissingError, StoredStage, unkeyed
from harness.store import Store

_KIND = "models"
_READING = ("tokenizers", "transformers")  # packages that decide whether a model can be loaded


@dataclass(frozen=True, eq=False)
class WeightsStage(StoredStage):
    """Stage whose result is weights. As a model source it gives them once they exist.

    Attributes:
        name: the candidate, for people.
    """

    kind = "weights"

    name: str = field(metadata=unkeyed("for people"))

    def weights(self, store: Store) -> Weights | None:
        """Return the weights, known by their own content; None before they are made."""
        artifact = self.artifact(store)
        return None if artifact is None else _read_trained(self.name, artifact.path, store)

    def content_key(self, store: Store) -> str | None:
        """Return the key of the weights themselves, however they were made."""
        weights = self.weights(store)
        return None if weights is None else weights.key

    def _existing(self, source: ModelSource, store: Store) -> Weights:
        """Return the weights that this stage starts from.

        Raises:
            InputMissingError: they are not made yet.
        """
        weights = source.weights(store)
        if weights is None:
            raise InputMissingError(f"{self.label}: the weights to start from do not exist yet")
        return weights


def remembered_weights(
    reference: str, *, revision: str | None, download: bool, chosen: Choices, store: Store
) -> Weights:
    """Return what `find_weights` returns, from the store where the files are as they were.

    Raises:
        HarnessError: as of `find_weights`.
    """
    folder, names = find_folder(reference, revision=revision, download=download)
    return _read_once(reference, folder, names, chosen=chosen, store=store)


def _read_once(
    reference: str, folder: Path, names: Sequence[str], *, chosen: Choices, store: Store
) -> Weights:
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


@cache
def _read_trained(name: str, path: Path, store: Store) -> Weights:
    """Read trained weights once a process: an artifact never changes."""
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*"))
    kept = [file for file in files if Path(file).suffix in {".json", ".txt", ".safetensors"}]
    kept.remove("meta.json")
    return _read_once(name, path, kept, chosen=AS_PUBLISHED, store=store)


def save_model(model: Any, folder: Path) -> None:
    """Save a model as sentence-transformers does; a full disk is an OSError."""
    from safetensors import SafetensorError

    try:
        model.save_pretrained(str(folder), create_model_card=False)
    except SafetensorError as error:
        raise OSError(str(error)) from error  # so it tells a full disk
