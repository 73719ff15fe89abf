"""Reading: a folder of MTEB result files, one result for each model and task.

The layouts are mteb's: ``<org>__<model>/<revision>/<task>.json`` in the folder itself, in
``results/`` (mteb's cache of own runs, and a clone of the results repository) and in
``remote/results/`` (mteb's cache of published ones). Runs under ``experiments/`` are left out, as
mteb leaves them out: they are ablations.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import ExitCode, HarnessError
from harness.published.registry import Model, MtebRegistry, Registry, Task, model_of

# Results before mteb 1.11 nest the scores of a similarity; these are its prefixes since.
_NESTED = {
    "cos_sim": "cosine",
    "dot": "dot",
    "euclidean": "euclidean",
    "manhattan": "manhattan",
    "max": "max",
    "similarity": "similarity",
}
SELF_REPORTED = "external"  # mteb's word for figures that were copied from the model card
_NO_REVISION = {SELF_REPORTED, "no_revision_available"}

_V = TypeVar("_V")


@dataclass(frozen=True)
class Cell:
    """The main score on one split of one subset.

    Attributes:
        languages: such as ``eng-Latn``.
    """

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
        date: ISO date of the run; None in files before 2025 and in self-reported ones.
        cells: one or more, of the splits that the task is scored on.
    """

    model: str
    revision: str
    task: str
    data_revision: str | None
    mteb_version: str | None
    date: str | None
    cells: tuple[Cell, ...]

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
    models: Mapping[str, Model]
    tasks: Mapping[str, Task | None]
    warnings: tuple[str, ...]


def read_published(folder: Path, *, registry: Registry | None = None) -> Published:
    """Read all result files of a folder.

    A model is often published in several revisions, each with some of the tasks, so that a single
    revision would leave half of its figures out. For each task we take one file whole, by the rule
    of mteb's leaderboard (``BenchmarkResults.join_revisions``): the revision that the registry
    names first, then files that tell mteb's version, then a revision before a self-reported
    figure, then the newest mteb. Every result keeps its revision.

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
        reader.take(path)
    return Published(
        folder=folder,
        results={name: _by_name(found) for name, found in _by_name(reader.results).items()},
        models=_by_name(reader.models),
        tasks=_by_name(reader.tasks),
        warnings=tuple(reader.warnings),
    )


class _Entry(BaseModel):
    """The scores of one subset; the named metrics are its extra fields."""

    model_config = ConfigDict(extra="allow")

    hf_subset: str = "default"
    languages: list[str] = []
    main_score: float | None = None


class _File(BaseModel):
    """A result file."""

    task_name: str
    dataset_revision: str | None = None
    mteb_version: str | None = None
    date: datetime | None = None
    scores: dict[str, list[_Entry]]


class _Reader:
    """Takes file after file and keeps the preferred result of each model and task."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.folder = folder
        self.registry = registry
        self.results: dict[str, dict[str, Result]] = {}
        self.models: dict[str, Model] = {}
        self.tasks: dict[str, Task | None] = {}
        self.warnings: list[str] = []
        self._names: dict[Path, tuple[str, str]] = {}

    def take(self, path: Path) -> None:
        """Read one file; what can not be read becomes a warning."""
        if path.name == "model_meta.json":
            return
        model, revision = self._identity(path.parent)
        content = self._content(path)
        if content is None:
            return
        result = self._result(path, model, revision, content)
        if result is None:
            return
        kept = self.results.setdefault(model, {}).get(result.task)
        if kept is None or self._rank(result) > self._rank(kept):
            self.results[model][result.task] = result

    def _content(self, path: Path) -> _File | None:
        try:
            data = json.loads(path.read_bytes())
            if isinstance(data, dict) and "mteb_dataset_name" in data:
                data = _modern(data, self._task(str(data["mteb_dataset_name"])))
            return _File.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            self._warn(path, f"{where}: {first['msg']}")
        except (OSError, ValueError) as error:
            self._warn(path, f"not readable as JSON, {error}")
        return None

    def _result(self, path: Path, model: str, revision: str, content: _File) -> Result | None:
        task = self._task(content.task_name)
        splits = _splits(list(content.scores), task)
        cells = [
            Cell(split, entry.hf_subset, tuple(entry.languages), score)
            for split in splits
            for entry in content.scores[split]
            if (score := self._score(path, split, entry, task)) is not None
        ]
        if not cells:
            wanted = " or ".join(task.splits) if task else "any"
            self._warn(path, f"no main score on split {wanted}, got {list(content.scores)}")
            return None
        return Result(
            model=model,
            revision=revision,
            task=content.task_name,
            data_revision=_known(content.dataset_revision),
            mteb_version=_known(content.mteb_version),
            date=content.date.date().isoformat() if content.date else None,
            cells=tuple(cells),
        )

    def _score(self, path: Path, split: str, entry: _Entry, task: Task | None) -> float | None:
        """Return the main score of today's metric; the file's own word for it is the second choice.

        Some tasks have changed their metric since, and a pair of scores must be of one metric.
        """
        named = (entry.model_extra or {}).get(task.metric) if task else None
        score = named if isinstance(named, float | int) else entry.main_score
        where = f"{split}, subset {entry.hf_subset}"
        if score is None or not math.isfinite(score):
            self._warn(path, f"{where}: no main score, it is left out")
            return None
        if abs(score) > 1:
            self._warn(path, f"{where}: main score {score:g} is not within -1 … 1, it is left out")
            return None
        return float(score)

    def _task(self, name: str) -> Task | None:
        if name not in self.tasks:
            self.tasks[name] = self.registry.task(name)
        return self.tasks[name]

    def _identity(self, folder: Path) -> tuple[str, str]:
        """Return name and revision of a model, from model_meta.json or else from the folders."""
        if folder not in self._names:
            meta = self._meta(folder / "model_meta.json")
            name = str(meta.get("name") or folder.parent.name.replace("__", "/"))
            if name not in self.models:
                self.models[name] = self.registry.model(name) or model_of(meta)
            self._names[folder] = (name, str(meta.get("revision") or folder.name))
        return self._names[folder]

    def _meta(self, path: Path) -> dict[str, Any]:
        if not path.exists():
            return {}
        try:
            meta = json.loads(path.read_bytes())
            model_of(meta)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            self._warn(path, f"not readable as a description of a model, {error}")
            return {}
        return dict(meta)

    def _rank(self, result: Result) -> tuple[bool, bool, bool, list[int]]:
        return (
            result.revision == self.models[result.model].revision,
            result.mteb_version is not None,
            result.revision not in _NO_REVISION,
            _version(result.mteb_version or ""),
        )

    def _warn(self, path: Path, what: str) -> None:
        self.warnings.append(f"{path.relative_to(self.folder)}: {what}.")


def _modern(old: dict[str, Any], task: Task | None) -> dict[str, Any]:
    """Return a result of mteb before 1.11 in today's schema.

    Then the splits stood at the top level, a task of one subset left that level out, and the
    scores of pair classification and STS were nested by similarity.
    """
    languages = task.languages if task else {}
    scores = {}
    for split, content in old.items():
        if not isinstance(content, dict):
            continue
        nested = {*_NESTED, "v_measures"}
        inner = {k: v for k, v in content.items() if isinstance(v, dict) and k not in nested}
        scores[split] = [
            {**dict(_flat(values)), "hf_subset": name, "languages": languages.get(name, ())}
            for name, values in (inner or {"default": content}).items()
        ]
    return {**old, "task_name": old["mteb_dataset_name"], "scores": scores}


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name in _NESTED and isinstance(value, dict):
            yield from ((f"{_NESTED[name]}_{inner}", score) for inner, score in value.items())
        else:
            yield name, value


def _splits(found: list[str], task: Task | None) -> list[str]:
    """Return the splits that the task is scored on; "test" of an unknown task, or else all."""
    if task is not None:
        return [split for split in found if split in task.splits]
    return ["test"] if "test" in found else found


def _known(text: str | None) -> str | None:
    """Return None for the ways in which files say that they do not know."""
    unknown = text is None or text.lower() in {"", "none"} or "not available" in text
    return None if unknown else text


def _version(text: str) -> list[int]:
    """Return a version as numbers; of a range such as ``2.12.16-2.15.4`` the first."""
    return [int(number) for number in re.findall(r"\d+", text.split("-", maxsplit=1)[0])]


def _by_name(items: Mapping[str, _V]) -> dict[str, _V]:
    return {name: items[name] for name in sorted(items)}
