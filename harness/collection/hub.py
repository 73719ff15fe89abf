"""Read Hugging Face datasets: from the hub, from its cache, or from a local folder of their files.

A dataset with the subsets `corpus` and `queries` has its judgements in `default` or `qrels`, as
mteb's loader expects, or in a dataset of their own, ``<id>-qrels``, as BeIR's; one with several
collections has ``<subset>-corpus``, ``<subset>-queries`` and ``<subset>-qrels``. Every other
dataset holds pairs, and its splits are those of the collection; one alone that is called "train"
names no split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.collection.beir import documents_of, queries_of
from harness.collection.columns import Choose, judgement_columns, text_columns
from harness.collection.layout import as_one, tables_below
from harness.collection.pairs import pair_columns, pairs_of
from harness.collection.qrels import judgements_of
from harness.collection.raw import RawCollection, RawSplit, Reading
from harness.collection.reading import BrokenInput, Record, excerpt, folder_problem, listed
from harness.collection.tables import TABLE_ENDINGS
from harness.errors import ExitCode, HarnessError, did_you_mean

_ROWS = 10_000  # read at a time
_DERIVED = re.compile("-[0-9a-f]{16}$")  # ends the name of a subset that was loaded with options
_SAVED = ("dataset_dict.json", "state.json")  # in a folder of `save_to_disk`


class HubPlace(NamedTuple):
    """Where a dataset is: a hub id or a local folder, and one of its subsets, or None."""

    path: str
    subset: str | None = None

    def __str__(self) -> str:
        return f"hf:{self.path}" if self.subset is None else f"hf:{self.path}/{self.subset}"


def place_of(identifier: str) -> HubPlace:
    """Return the parts of ``<owner>/<name>[/<subset>]`` or ``<folder>[/<subset>]``.

    >>> place_of("mteb/scifact"), place_of("mteb/xquad/de").subset
    (HubPlace(path='mteb/scifact', subset=None), 'de')
    """
    folder = Path(identifier).expanduser()
    if folder.exists():
        return HubPlace(str(folder))
    if _names_subsets(folder.parent / "README.md"):
        return HubPlace(str(folder.parent), folder.name)
    if folder.is_absolute() or identifier.startswith("."):
        return HubPlace(str(folder))
    parts = identifier.split("/")
    return HubPlace("/".join(parts[:2]), "/".join(parts[2:]) or None)


def _names_subsets(card: Path) -> bool:
    """Tell whether a dataset's card says what the subsets of its folder are, at its head."""
    if not card.is_file():
        return False
    with card.open(encoding="utf-8", errors="replace") as file:
        return file.readline().strip() == "---" and "config" in file.read(100_000)


def open_dataset(place: HubPlace) -> Mapping[str, Any]:
    """Return the splits of a dataset by name.

    Raises:
        HarnessError: exit code 3, it cannot be loaded.
    """
    from datasets import Dataset, load_dataset, load_from_disk

    def load() -> Any:
        if _is_saved(place):
            return load_from_disk(place.path)
        return load_dataset(place.path, name=place.subset)

    found = _tried(place, load)
    return {"train": found} if isinstance(found, Dataset) else dict(found)


def open_split(place: HubPlace, split: str) -> Any:
    """Return one split of a dataset; it may be written as ``train[:1000]``.

    Raises:
        HarnessError: exit code 3, it cannot be loaded, or has no such split.
    """
    from datasets import load_dataset

    if _is_saved(place):
        splits = open_dataset(place)
        if split in splits:
            return splits[split]
        raise HarnessError(
            f"{place}: no split {split!r}.{did_you_mean(split, splits)}", exit_code=ExitCode.DATA
        )
    return _tried(place, lambda: load_dataset(place.path, name=place.subset, split=split))


def rows_of(file: str, dataset: Any, choose: Choose) -> Iterator[Record]:
    """Yield the rows of a split, their values by our names."""
    found = choose(file, dataset.column_names)
    if not found:
        return
    table = dataset.select_columns(list(dict.fromkeys(found.values()))).with_format("arrow")
    line = 0
    for batch in table.iter(_ROWS):
        for values in batch.to_pylist():
            line += 1
            yield Record(file, line, {name: values[column] for name, column in found.items()})


def read_hub(identifier: str, how: Reading) -> RawCollection:
    """Read all splits of a dataset.

    Args:
        identifier: as `place_of` takes it.
        how: it is read; `columns` are those of pairs.

    Raises:
        HarnessError: exit code 3, it cannot be loaded or its rows are broken, all of it at once.
    """
    place, broken = place_of(identifier), BrokenInput()
    if Path(place.path).is_absolute() or identifier.startswith("."):
        if problem := folder_problem(Path(place.path)):
            broken.add(Path(place.path), problem)
        broken.raise_if_any()
    names = _subsets(place)
    prefix = "" if place.subset is None else f"{place.subset}-"
    given = [each for each in (f"{prefix}corpus", f"{prefix}queries", "query") if each in names]
    if len(given) < 2 or given[0] != f"{prefix}corpus":
        return _read_pairs(place, names, how)
    if how.columns:
        broken.add(place, "'columns' is for pairs, and this has a corpus. Remove the key.")
    file, more = str(place), () if how.clusters is None else (how.clusters,)
    corpus = open_dataset(HubPlace(place.path, given[0]))
    if len(corpus) > 1:
        broken.doubts.append(f"{file}: the documents of {listed(corpus)} are searched together.")
    choose = text_columns("document", ("title",), broken)
    texts = (row for part in corpus.values() for row in rows_of(file, part, choose))
    documents = as_one(documents_of(file, texts, broken, into=how.into), list(corpus))
    asked = open_dataset(HubPlace(place.path, given[-1]))
    choose = text_columns("query", more, broken)
    texts = (row for part in asked.values() for row in rows_of(file, part, choose))
    queries = as_one(queries_of(file, texts, how.clusters, broken), list(asked))
    judged = {
        split: judgements_of(file, rows_of(file, part, judgement_columns(broken)), broken)
        for split, part in open_dataset(_judgements_place(place, names)).items()
    }
    broken.raise_if_any()
    splits = {split: RawSplit(queries, each) for split, each in judged.items()}
    return RawCollection(file, documents, splits, notes=tuple(broken.doubts))


def hub_files(identifier: str) -> list[Path]:
    """Return the files of a local folder; none of the hub, which may have newer ones."""
    folder = Path(place_of(identifier).path)
    if not folder.is_dir():
        return []
    found = tables_below(folder, TABLE_ENDINGS | {".arrow"})
    return [*found, *(path for path in folder.glob("*.md") if path.is_file())]


def _read_pairs(place: HubPlace, names: Sequence[str], how: Reading) -> RawCollection:
    """Read a dataset whose rows are pairs; its splits stand where no column says the split."""
    wanted = place.subset
    if wanted is None:
        wanted = names[0] if len(names) == 1 else next((x for x in names if x == "default"), None)
    if wanted is None or wanted not in names:
        ends = ("-corpus", "-queries", "-qrels")
        several = sorted({x.removesuffix(end) for x in names for end in ends if x.endswith(end)})
        known = several or names
        fix = "" if {"corpus", "queries"}.issubset(names) else f"/{known[0]}"
        raise HarnessError(
            f"{place}: has the subsets {listed(known)}. Write hf:{place.path}{fix}.",
            exit_code=ExitCode.DATA,
        )
    broken = BrokenInput()
    file = str(place)
    choose = pair_columns(how.clusters, broken, said=dict(how.columns), apart=how.apart)
    parts = open_dataset(HubPlace(place.path, wanted))
    records: list[Record] = []
    for split, part in parts.items():
        rows = rows_of(file, part, choose)
        if list(parts) == ["train"]:
            records += rows
        else:
            records += (row._replace(values={"split": split, **row.values}) for row in rows)
    broken.raise_if_any()
    found = pairs_of(file, records, how.clusters, broken, apart=how.apart)
    return replace(found, source=file)


def _judgements_place(place: HubPlace, names: Sequence[str]) -> HubPlace:
    subset = place.subset
    usual = ("default", "qrels") if subset is None else (f"{subset}-qrels", subset)
    found = next((each for each in usual if each in names), None)
    if found is None and not Path(place.path).is_dir():
        return HubPlace(f"{place.path}-qrels", subset)
    if found is None:
        raise HarnessError(
            f"{place}: no subset {listed(usual)} with judgements, got {listed(names)}. Add it to "
            "its README.md.",
            exit_code=ExitCode.DATA,
        )
    return HubPlace(place.path, found)


def _subsets(place: HubPlace) -> list[str]:
    """Return the subsets of a dataset; where the hub is not reached, those that are cached."""
    from datasets import config, get_dataset_config_names
    from datasets.naming import camelcase_to_snakecase

    if _is_saved(place):
        return ["default"]
    names = list(_tried(place, lambda: get_dataset_config_names(place.path)))
    owner, slash, name = place.path.rpartition("/")
    cached = f"{owner}{'___' if slash else ''}{camelcase_to_snakecase(name)}"
    if names == ["default"] and not Path(place.path).is_dir():
        found = sorted(each.name for each in Path(config.HF_DATASETS_CACHE, cached).glob("*"))
        return [name for name in found if not _DERIVED.search(name)] or names
    return names


def _is_saved(place: HubPlace) -> bool:
    return any((Path(place.path) / name).is_file() for name in _SAVED)


def _tried(place: HubPlace, load: Any) -> Any:
    """Return what is loaded, without the words of the library about its cache."""
    from datasets.exceptions import DatasetsError
    from datasets.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return load()
    except (OSError, ValueError, DatasetsError) as error:
        reason = excerpt(next(iter(str(error).strip().splitlines()), "") or type(error).__name__)
        raise HarnessError(
            f"{place}: cannot be loaded ({reason}). Check the id, its subset and split, and the "
            "network; or name a local folder that holds its files.",
            exit_code=ExitCode.DATA,
        ) from error
    finally:
        logging.set_verbosity(before)
