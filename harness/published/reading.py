"""Reading: a folder of MTEB result files, and what mteb knows about their models and tasks.

The layouts are mteb's: ``<org>__<model>/<revision>/<task>.json`` in the folder itself, in
``results/`` (mteb's cache of own runs, and a clone of the results repository) and in
``remote/results/`` (mteb's cache of published ones). Runs under ``experiments/`` are left out, as
mteb leaves them out: they are ablations.

mteb reads the files and joins the revisions. It is asked file by file, not by
``ResultCache.load_results``: that ends at the first file that it cannot read.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from harness.errors import ExitCode, HarnessError

SELF_REPORTED = "external"  # mteb's word for figures that were copied from the model card
_NO_LICENCE = {None, "", "not specified"}


@dataclass(frozen=True)
class Task:
    """A task of MTEB.

    Attributes:
        kind: mteb's type in lower case: "retrieval", "reranking", "clustering", "sts", ….
        metric: the one that mteb names the main score today, such as ``ndcg_at_10``.
        splits: the ones that are scored.
        parts: tasks that this one is the mean of.
    """

    kind: str
    metric: str
    splits: tuple[str, ...]
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFacts:
    """What its makers state about a model; None is unknown.

    Attributes:
        parameters: all of them, embeddings included.
        licence: in lower case as mteb writes it, such as ``apache-2.0``, or an address.
        released: ISO date.
        open_weights: whether the weights can be had.
        architecture: "dense", "sparse", "cross-encoder", "late-interaction", ….
    """

    parameters: int | None = None
    licence: str | None = None
    released: str | None = None
    open_weights: bool | None = None
    architecture: str | None = None


@dataclass(frozen=True)
class Model:
    """A published model.

    Attributes:
        facts: as stated.
        trained_on: tasks whose data, or data close to it, the model was trained on; None where
            nobody declared it.
    """

    facts: ModelFacts = ModelFacts()
    trained_on: frozenset[str] | None = None


class Registry(Protocol):
    """Knows tasks and models by name; None stands for an unknown one."""

    def task(self, name: str) -> Task | None: ...  # noqa: D102
    def model(self, name: str) -> Model | None: ...  # noqa: D102


class MtebRegistry:
    """The registry of the installed mteb; an outdated name stands for the new one.

    It asks no network; the import takes about 5 seconds.
    """

    def __init__(self) -> None:
        import mteb

        self._mteb = mteb

    def task(self, name: str) -> Task | None:
        """Return a task, or None for an unknown one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mteb warns of names that it has changed since
            try:
                metadata = self._mteb.get_task(name).metadata
            except KeyError:
                return None
        return Task(
            kind=metadata.type.lower(),
            metric=metadata.main_score,
            splits=tuple(metadata.eval_splits),
            parts=tuple(part.metadata.name for part in getattr(metadata, "tasks", ())),
        )

    def model(self, name: str) -> Model | None:
        """Return a model, or None for an unknown one."""
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

    >>> model_of({"n_parameters": 33360000, "license": "MIT"}).facts.licence
    'mit'
    """
    parameters = fields.get("n_parameters")
    licence, trained_on = fields.get("license"), fields.get("training_datasets")
    kinds, released = fields.get("model_type"), fields.get("release_date")
    facts = ModelFacts(
        parameters=None if parameters is None else int(parameters),
        licence=None if licence in _NO_LICENCE else str(licence).lower(),
        released=None if released is None else str(released),
        open_weights=fields.get("open_weights"),
        architecture="+".join(kinds) if kinds else None,
    )
    return Model(facts, None if trained_on is None else frozenset(trained_on))


@dataclass(frozen=True)
class SubsetScore:
    """The main score on one split of one subset, with languages such as ``eng-Latn``."""

    split: str
    subset: str
    languages: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class Result:
    """What one file says about a model on a task.

    Attributes:
        revision: of the model; the name of the folder.
        data_revision: of the task's data; None where the file does not say.
        cells: one or more, of the splits that the task is scored on.
    """

    model: str
    revision: str
    task: str
    data_revision: str | None
    cells: tuple[SubsetScore, ...]

    @property
    def main_score(self) -> float:
        """The plain mean over splits and subsets, as mteb averages them."""
        return math.fsum(cell.score for cell in self.cells) / len(self.cells)


@dataclass(frozen=True)
class Published:
    """A folder of published results.

    Attributes:
        folder: as given.
        results: by model, then by task, both in order of their names.
        models: what is known of each.
        tasks: what is known of each, None where the registry knows nothing.
        warnings: one sentence for each file, or part of one, that could not be read.
    """

    folder: Path
    results: Mapping[str, Mapping[str, Result]]
    models: Mapping[str, Model] = field(default_factory=dict)
    tasks: Mapping[str, Task | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_published(folder: Path, *, registry: Registry | None = None) -> Published:
    """Read all result files of a folder.

    A model is often published in several revisions, each with some of the tasks, so that a single
    revision would leave half of its figures out. For each task we take one file whole, by the rule
    of mteb's leaderboard (``BenchmarkResults.join_revisions``): the revision that mteb registers,
    then files that tell mteb's version, then a revision before a self-reported figure, then the
    newest mteb. Every result keeps its revision.

    Args:
        folder: of mteb's layout, or a cache of mteb.
        registry: what tasks and models are; None takes the installed mteb.

    Raises:
        HarnessError: exit code 2, there is no such folder, or mteb is missing; 3, it has no
            result file.
    """
    places = [folder / "results", folder / "remote" / "results"]
    roots = [place for place in places if place.is_dir()] or [folder]
    paths = [path for root in roots for path in sorted(root.glob("*/*/*.json"))]
    if not paths:
        raise HarnessError(
            f"{folder}: no MTEB results there. Name a folder with files "
            "<org>__<model>/<revision>/<task>.json, or a cache of mteb.",
            exit_code=ExitCode.DATA if folder.is_dir() else ExitCode.USAGE,
        )
    reader = _Reader(folder, registry or MtebRegistry())
    for path in paths:
        if path.name != "model_meta.json":
            reader.take(path)
    results: dict[str, dict[str, Result]] = {name: {} for name, *_ in sorted(reader.found)}
    for model, task, revision in sorted(reader.chosen()):
        results[model][task] = reader.found[model, task, revision]
    return Published(
        folder=folder,
        results=results,
        models=dict(sorted(reader.models.items())),
        tasks=dict(sorted(reader.tasks.items())),
        warnings=tuple(reader.warnings),
    )


class _Reader:
    """Takes file after file, and chooses one of each model and task.

    Attributes:
        found: results by model, task and revision.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.folder = folder
        self.registry = registry
        self.found: dict[tuple[str, str, str], Result] = {}
        self.models: dict[str, Model] = {}
        self.tasks: dict[str, Task | None] = {}
        self.warnings: list[str] = []
        self._files: dict[tuple[str, str, str], Any] = {}  # mteb's TaskResult
        self._names: dict[Path, tuple[str, str]] = {}

    def take(self, path: Path) -> None:
        """Read one file; what cannot be read becomes a warning."""
        model, revision = self._identity(path.parent)
        content = self._content(path)
        if content is None:
            return
        name = content.task_name
        if name not in self.tasks:
            self.tasks[name] = self.registry.task(name)
        task, splits = self.tasks[name], list(content.scores)
        if task is not None:
            splits = [split for split in splits if split in task.splits]
        elif "test" in splits:
            splits = ["test"]
        cells = tuple(
            SubsetScore(split, entry["hf_subset"], tuple(entry["languages"]), score)
            for split in splits
            for entry in content.scores[split]
            if (score := self._score(path, split, entry, task)) is not None
        )
        if not cells:
            wanted = " or ".join(task.splits) if task else "any"
            self._warn(path, f"no main score on split {wanted}, got {list(content.scores)}")
            return
        data = content.dataset_revision or ""
        says = data.lower() not in {"", "none"} and "not available" not in data
        result = Result(model, revision, name, data if says else None, cells)
        self.found.setdefault((model, name, revision), result)
        self._files.setdefault((model, name, revision), content)

    def chosen(self) -> list[tuple[str, str, str]]:
        """Return the place in `found` of the one result of each model and task."""
        from mteb.results import BenchmarkResults, ModelResult

        files = [
            ModelResult.model_construct(
                model_name=model, model_revision=revision, task_results=[content]
            )
            for (model, _, revision), content in self._files.items()
        ]
        joined = BenchmarkResults.model_construct(model_results=files).join_revisions()
        return [
            (each.model_name, content.task_name, str(each.model_revision))
            for each in joined.model_results
            for content in each.task_results
        ]

    def _content(self, path: Path) -> Any:
        """Return mteb's ``TaskResult`` of a file, or None."""
        from mteb import TaskResult

        try:
            data = json.loads(path.read_bytes())
            if isinstance(data, dict) and "mteb_dataset_name" in data:
                return TaskResult.from_disk(path)  # of mteb before 1.11, brought up to date
            if isinstance(data, dict):  # what mteb needs and some files lack
                data = {"evaluation_time": None, "mteb_version": None, **data}
                data["dataset_revision"] = str(data.get("dataset_revision"))
            return TaskResult.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            self._warn(path, f"{where}: {first['msg']}")
        except (OSError, ValueError) as error:
            self._warn(path, f"not readable as JSON, {error}")
        except (LookupError, TypeError, AttributeError) as error:
            self._warn(path, f"not readable as a result of mteb before 1.11, {error!r}")
        return None

    def _score(
        self, path: Path, split: str, entry: Mapping[str, Any], task: Task | None
    ) -> float | None:
        """Return the main score of today's metric; the file's own word for it is the second choice.

        Some tasks have changed their metric since, and a pair of scores must be of one metric.
        """
        named = entry.get(task.metric) if task else None
        score = named if isinstance(named, float | int) else entry["main_score"]
        where = f"{split}, subset {entry['hf_subset']}"
        if not isinstance(score, float | int) or not math.isfinite(score):
            self._warn(path, f"{where}: no main score, it is left out")
            return None
        if abs(score) > 1:
            self._warn(path, f"{where}: main score {score:g} is not within -1 … 1, it is left out")
            return None
        return float(score)

    def _identity(self, folder: Path) -> tuple[str, str]:
        """Return name and revision of a model, from model_meta.json or else from the folders."""
        if folder not in self._names:
            meta: dict[str, Any] = {}
            path = folder / "model_meta.json"
            try:
                if path.exists():
                    meta = json.loads(path.read_bytes())
                model = model_of(meta)
            except (OSError, ValueError, TypeError, AttributeError) as error:
                self._warn(path, f"not readable as a description of a model, {error}")
                meta, model = {}, Model()
            name = str(meta.get("name") or folder.parent.name.replace("__", "/"))
            if name not in self.models:
                self.models[name] = self.registry.model(name) or model
            self._names[folder] = (name, str(meta.get("revision") or folder.name))
        return self._names[folder]

    def _warn(self, path: Path, what: str) -> None:
        self.warnings.append(f"{path.relative_to(self.folder)}: {what}.")
