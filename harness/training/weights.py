"""Weights: what a training leaves, as a stage that is a source of models, and as files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.models.source import ModelSource
from harness.models.weights import Weights, read_weights
from harness.stage import InputMissingError, StoredStage, unkeyed
from harness.store import Store


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
        return None if artifact is None else read_trained(self.name, artifact.path)

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


@cache
def read_trained(name: str, path: Path) -> Weights:
    """Read trained weights once a process: an artifact never changes."""
    files = [str(file.relative_to(path)) for file in path.rglob("*") if file.name != "meta.json"]
    kept = [file for file in files if Path(file).suffix in {".json", ".txt", ".safetensors"}]
    return read_weights(name, path, kept)


def save_model(model: Any, folder: Path) -> None:
    """Save a model as sentence-transformers does; a full disk is an OSError."""
    from safetensors import SafetensorError

    try:
        model.save_pretrained(str(folder), create_model_card=False)
    except SafetensorError as error:
        raise OSError(str(error)) from error  # so it tells a full disk
