"""Layout: which files of a folder hold documents, queries and judgements, as hubs keep them.

BEIR: `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`. On hubs each is rather a table of
another kind, shards of one (`corpus-00000-of-00002.parquet`), or a folder of either (`corpus/`);
judgements are in `qrels/`, `default/` or `data/`, a file, shards or a folder for each split; or
beside the rest as `qrels.<kind>` or `<split>.<kind>`. FlagEmbedding: `corpus.jsonl`,
`<split>_queries.jsonl` and `<split>_qrels.jsonl`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from harness.collection.raw import NO_LINES, RawJudgements, RawTexts
from harness.collection.reading import (
    PACKED,
    BrokenInput,
    existing,
    file_problem,
    listed,
    suffix_of,
    unpacked_name,
)
from harness.collection.tables import TABLE_ENDINGS

_JUDGED = TABLE_ENDINGS | {".trec", ".qrels", ".qrel"}
_SHARD = re.compile(r"(^|[-_.])(part[-_]?)?[0-9]+(-of-[0-9]+)?$")
_OF_SPLITS = ("qrels", "default", "data")  # folders
_SPLITS = ("test", "dev", "validation", "train")
_Part = TypeVar("_Part", RawTexts, RawJudgements)
_HEADER = "query-id corpus-id score"


class Parts(NamedTuple):
    """The files of a folder.

    Attributes:
        documents: of the corpus.
        queries: by split; "" for those of every split.
        judgements: by split; of "test" none at all where nothing is judged.
    """

    documents: tuple[Path, ...]
    queries: Mapping[str, tuple[Path, ...]]
    judgements: Mapping[str, tuple[Path, ...]]

    @property
    def files(self) -> list[Path]:
        """All that there are."""
        parts = (self.documents, *self.queries.values(), *self.judgements.values())
        return [path for part in parts for path in part if path.is_file()]


def layout_of(folder: Path, broken: BrokenInput) -> Parts:
    """Return what lies where; what is missing or duplicated is noted."""
    documents = corpus_of(folder, broken)
    names = _flag_embedding_splits(folder)
    if names and not (folder / "qrels").is_dir():
        queries = {name: (existing(folder / f"{name}_queries.jsonl"),) for name in names}
        judged = {name: (existing(folder / f"{name}_qrels.jsonl"),) for name in names}
        return Parts(documents, queries, judged)
    shared = _texts_of(folder, ("queries", "query"), broken)
    return Parts(documents, {"": shared}, _judgements_of(folder, broken))


def corpus_of(folder: Path, broken: BrokenInput) -> tuple[Path, ...]:
    """Return the files of the documents; noted where there are none, or several in doubt."""
    return _texts_of(folder, ("corpus",), broken)


def tables_below(folder: Path, suffixes: frozenset[str] = TABLE_ENDINGS) -> list[Path]:
    """Return the tables in a folder and its sub-folders, in order; none that is hidden."""
    found = (path for path in folder.rglob("[!._]*") if suffix_of(path) in suffixes)
    inner = ((path, path.relative_to(folder).parts) for path in found if path.is_file())
    return sorted(path for path, parts in inner if not any(part[0] in "._" for part in parts))


def label_of(files: Sequence[Path]) -> str:
    """Return how messages name a table: its file, or the folder of its shards."""
    return str(files[0] if len(files) == 1 else files[0].parent) if files else ""


def as_one(found: _Part, files: Sequence[object]) -> _Part:
    """Return texts or judgements of these files; a line would not say of which of several."""
    return found if len(files) == 1 else replace(found, lines=NO_LINES)


def _texts_of(folder: Path, names: Sequence[str], broken: BrokenInput) -> tuple[Path, ...]:
    """Return the files of the corpus or the queries; where there are none the usual one."""
    usual = existing(folder / f"{names[0]}.jsonl")
    if usual.exists():
        return (usual,)
    beside = [path for path in _tables_in(folder) if _SHARD.sub("", _stem(path)) in names]
    if any(_stem(path) in names for path in beside) and len(beside) > 1:
        got = listed(path.name for path in beside)
        broken.add(folder, f"several files could be '{names[0]}', got {got}. Keep one of them.")
        return ()
    within = (path for name in names for path in tables_below(folder / name))
    found = tuple(beside) or tuple(within)
    if not found:
        broken.add(usual, f"{file_problem(usual)}{_elsewhere(folder, names[0])}")
    return found


def _elsewhere(folder: Path, name: str) -> str:
    """Return where the texts may be instead, as a sentence; "" where nothing looks like them."""
    inner = sorted(path for path in folder.glob("[!._]*") if path.is_dir())
    whole = [path for path in inner if (path / name).is_dir() or any(path.glob(f"{name}*.*"))]
    if whole:
        return f" Or name the folder in it, as in beir:{whole[0]}."
    near = [path.name for path in folder.glob(f"*{name}*")]
    subsets = sorted(each.removesuffix(f"-{name}") for each in near if each.endswith(f"-{name}"))
    if subsets:
        return f" The folder has {listed(sorted(near))}: name one, as in hf:{folder}/{subsets[0]}."
    if any(folder.glob("*topics*")):
        return f" Topics and documents of TREC are read as trec:{folder}."
    return ""


def _judgements_of(folder: Path, broken: BrokenInput) -> dict[str, tuple[Path, ...]]:
    home = next((folder / name for name in _OF_SPLITS if (folder / name).is_dir()), None)
    if home is None:
        given = [path for path in _tables_in(folder, _JUDGED) if _root_split(path)]
    else:
        given = _tables_in(home, _JUDGED) or tables_below(home, _JUDGED)
    usual = [path for path in given if suffix_of(path) == ".tsv"]  # BEIR's own kind
    splits: dict[str, tuple[Path, ...]] = {}
    for path in usual or given:
        name = _root_split(path) if home is None else _split_of(path, home)
        before = splits.get(name, ())
        if before and not (_is_shard(path) and _is_shard(before[0])):
            what = f"judges split {name!r}, as {before[0].name} does. Keep one of the two."
            broken.add(path, what)
        splits[name] = (*before, path)
    if home is None and not splits:
        return {"test": ()}  # nothing is judged yet
    if not splits:
        others = sorted(path.name for path in (home or folder / "qrels").glob("[!.]*"))
        got = f", got {listed(others)}" if others else ""
        what = f"no <split>.tsv{got}. Write one with the header '{_HEADER}'."
        broken.add(folder / "qrels", what)
    return splits


def _split_of(path: Path, home: Path) -> str:
    """Return the split of a file of judgements, by its name or that of a folder of shards."""
    name = _SHARD.sub("", _stem(path)) if _is_shard(path) else _stem(path)
    return name or (path.parent.name if path.parent != home else _stem(path))


def _root_split(path: Path) -> str:
    """Return the split of a file of judgements beside the corpus; "" if it is none.

    >>> [_root_split(Path(name)) for name in ("qrels.tsv", "qrels_dev.tsv", "test.csv", "a.csv")]
    ['test', 'dev', 'test', '']
    """
    stem = _stem(path)
    if found := re.fullmatch(r"qrels?([-_.](?P<after>.+))?|(?P<before>.+)[-_.]qrels?", stem):
        return found["after"] or found["before"] or "test"
    return stem if stem in _SPLITS else ""


def _is_shard(path: Path) -> bool:
    """Tell whether the name of a file numbers it: ``test-00000-of-00002``, or ``0000``."""
    return re.search(r"-[0-9]+-of-[0-9]+$|^(part[-_]?)?[0-9]{4,}$", _stem(path)) is not None


def _stem(path: Path) -> str:
    return Path(unpacked_name(path.name)).stem


def _tables_in(folder: Path, suffixes: frozenset[str] = TABLE_ENDINGS) -> list[Path]:
    given = (path for path in folder.glob("[!._]*") if suffix_of(path) in suffixes)
    return sorted(path for path in given if path.is_file())


def _flag_embedding_splits(folder: Path) -> list[str]:
    suffixes = ("_queries.jsonl", "_qrels.jsonl")
    return sorted(
        {
            unpacked_name(path.name).removesuffix(suffix)
            for suffix in suffixes
            for packed in ("", *PACKED)
            for path in folder.glob(f"[!.]*{suffix}{packed}")
        }
    )
