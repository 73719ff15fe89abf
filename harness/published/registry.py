"""What is known of published tasks and models: mteb's own metadata, which ships in its package."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.errors import ExitCode, HarnessError

_NO_LICENCE = {None, "", "not specified"}


@dataclass(frozen=True)
class Task:
    """A task of MTEB.

    Attributes:
        kind: mteb's type in lower case: "retrieval", "reranking", "clustering", "sts", ….
        metric: the one that mteb names the main score today, such as ``ndcg_at_10``.
        splits: the ones that are scored.
        languages: of each subset, such as ``{"default": ("eng-Latn",)}``.
        parts: tasks that this one is the mean of.
    """

    kind: str
    metric: str
    splits: tuple[str, ...]
    languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFacts:
    """What its makers state about a model; None is unknown.

    Attributes:
        parameters: all of them, embeddings included.
        licence: in lower case as mteb writes it, such as ``apache-2.0``, or an address.
        released: ISO date.
        dimension: of the vectors; the largest where there are several.
        max_tokens: None also where there is no limit.
        open_weights: whether the weights can be had.
        architecture: "dense", "sparse", "cross-encoder", "late-interaction", ….
    """

    parameters: int | None = None
    licence: str | None = None
    released: str | None = None
    dimension: int | None = None
    max_tokens: int | None = None
    open_weights: bool | None = None
    architecture: str | None = None


@dataclass(frozen=True)
class Model:
    """A published model.

    Attributes:
        facts: as stated.
        revision: the one that the facts describe.
        trained_on: tasks whose data, or data close to it, the model was trained on; None where
            nobody declared it.
    """

    facts: ModelFacts = ModelFacts()
    revision: str | None = None
    trained_on: frozenset[str] | None = None


class Registry(Protocol):
    """Knows tasks and models by name."""

    def task(self, name: str) -> Task | None:
        """Return a task, or None for an unknown one."""

    def model(self, name: str) -> Model | None:
        """Return a model, or None for an unknown one."""


class MtebRegistry:
    """The registry of the installed mteb. It asks no network; the import takes about 5 seconds.

    Raises:
        HarnessError: exit code 2, mteb is not installed.
    """

    def __init__(self) -> None:
        try:
            import mteb
        except ModuleNotFoundError as error:
            raise HarnessError(
                "published results: mteb, which knows kinds of tasks, licences and sizes, is not "
                f"installed ({error}). Install it: pip install 'embedding-harness[published]'.",
                exit_code=ExitCode.USAGE,
            ) from error
        self._mteb = mteb

    def task(self, name: str) -> Task | None:
        """Return a task; an outdated name stands for the new one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mteb warns of names that it has changed since
            try:
                metadata = self._mteb.get_task(name).metadata
            except KeyError:
                return None
        languages = metadata.hf_subsets_to_langscripts
        return Task(
            kind=metadata.type.lower(),
            metric=metadata.main_score,
            splits=tuple(metadata.eval_splits),
            languages={subset: tuple(codes) for subset, codes in languages.items()},
            parts=tuple(part.metadata.name for part in getattr(metadata, "tasks", ())),
        )

    def model(self, name: str) -> Model | None:
        """Return a model; an outdated name stands for the new one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            try:
                meta = self._mteb.get_model_meta(name)
            except KeyError:
                return None
        trained_on = meta.get_training_datasets()  # with what its base model saw, and near copies
        fields = {name: getattr(meta, name) for name in type(meta).model_fields}
        return model_of({**fields, "training_datasets": trained_on})


def model_of(fields: Mapping[str, Any]) -> Model:
    """Return a model from the fields of mteb's ``ModelMeta``, all of which may be missing.

    >>> model_of({"n_parameters": 33360000, "license": "MIT", "max_tokens": 512.0}).facts.max_tokens
    512
    """
    licence, trained_on = fields.get("license"), fields.get("training_datasets")
    kinds, released = fields.get("model_type"), fields.get("release_date")
    facts = ModelFacts(
        parameters=_whole(fields.get("n_parameters")),
        licence=None if licence in _NO_LICENCE else str(licence).lower(),
        released=None if released is None else str(released),
        dimension=_whole(fields.get("embed_dim")),
        max_tokens=_whole(fields.get("max_tokens")),
        open_weights=fields.get("open_weights"),
        architecture="+".join(kinds) if kinds else None,
    )
    revision = fields.get("revision")
    return Model(facts, revision, None if trained_on is None else frozenset(trained_on))


def size(parameters: int) -> str:
    """Return a number of parameters as people say it.

    >>> size(33_360_512), size(7_560_000), size(1_540_000_000)
    ('33M', '7.6M', '1.5B')
    """
    if parameters >= 1e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.0f}M" if parameters >= 1e7 else f"{parameters / 1e6:.1f}M"


def _whole(value: float | list[int] | None) -> int | None:
    """Return a whole number; mteb writes tokens as floats, infinity for none, several widths."""
    number = max(value) if isinstance(value, list | tuple) else value
    return int(number) if number is not None and math.isfinite(number) else None
