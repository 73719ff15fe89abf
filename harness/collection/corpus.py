"""Read documents alone, for pairs that know theirs by id: a table, a BEIR corpus, or files.

Columns of a table: an id (`document_id`, `id`, `url`, …), the text (`document`, `text`, …) and
where it exists `title`, which comes before the text. A folder without a `corpus.jsonl` is one of
files. Documents that no pair names are read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from harness.collection.beir import documents_of, read_documents
from harness.collection.columns import Said, text_columns
from harness.collection.folder import files_below, read_folder
from harness.collection.layout import corpus_of, label_of
from harness.collection.passages import SEPARATOR, Chunking, cut_documents
from harness.collection.raw import RawCollection, RawJudgements, RawTexts
from harness.collection.reading import BrokenInput, existing
from harness.collection.tables import read_records
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest

CORPUS = "corpus"  # of a source that is read here


def is_folder_of_files(path: Path) -> bool:
    """Tell whether a path is a folder in no layout: each file in it is a document."""
    return path.is_dir() and not corpus_of(path, BrokenInput())


def read_corpus(
    path: Path, *, columns: Said = MappingProxyType({}), into: Path | None = None
) -> RawCollection:
    """Read the documents of a table or a folder, as a collection without splits.

    Args:
        path: of the file or folder.
        columns: which column of a file holds "document" and "document_id"; an id that goes by
            another name here than in the pairs is found by its usual names.
        into: as in `Reading`.

    Raises:
        HarnessError: it is missing, empty or broken; all problems at once.
    """
    broken = BrokenInput()
    if is_folder_of_files(path):
        return read_folder(path)
    if path.is_dir():
        files = corpus_of(path, broken)
        documents = read_documents(files, broken, into=into)
    else:
        file = existing(path)
        files = (file,)
        choose = text_columns("document", ("title",), broken, columns)
        records = read_records(file, broken, choose=choose)
        documents = documents_of(str(file), records, broken, into=into)
    if not documents.ids and not broken:
        broken.add(label_of(files), "no documents. Add rows of an id and a text.")
    broken.raise_if_any()
    return RawCollection(f"{CORPUS}:{path}", documents, {}, notes=tuple(broken.doubts))


def corpus_files(path: Path) -> list[Path]:
    """Return every file that `read_corpus` looks at."""
    if is_folder_of_files(path):
        return files_below(path)
    files = corpus_of(path, BrokenInput()) if path.is_dir() else (existing(path),)
    return [file for file in files if file.is_file()]


def with_corpus(
    pairs: RawCollection, corpus: RawCollection, *, cut: Chunking | None
) -> RawCollection:
    """Return pairs with the documents that they name.

    Where these are files, the pairs may write a path in any usual way, or name a passage by its id;
    then the passages are the documents.

    Args:
        pairs: without documents.
        corpus: documents alone.
        cut: how documents are cut; None takes what the corpus says.

    Raises:
        HarnessError: exit code 3, some pairs name files and some passages.
    """
    found = replace(
        pairs,
        documents=corpus.documents,
        licence=pairs.licence or corpus.licence,
        notes=(*pairs.notes, *corpus.notes),
        key=digest(pairs.key, corpus.key) if pairs.key and corpus.key else None,
        cut=cut or corpus.cut,
    )
    if corpus.cut is None or found.cut is None:
        return found
    judged = [part.judgements for part in pairs.splits.values()]
    folder = Path(corpus.documents.file).name
    names = _names((key for each in judged for key in each.document_ids), corpus.documents, folder)
    _refuse_both(judged, names, corpus.documents)
    splits = {}
    for name, part in pairs.splits.items():
        ids = tuple(names.get(key, key) for key in part.judgements.document_ids)
        splits[name] = replace(part, judgements=replace(part.judgements, document_ids=ids))
    if any(name not in corpus.documents.rows for name in names.values()):
        made = cut_documents(corpus.documents.ids, corpus.documents.texts, found.cut)
        no_lines = np.empty(0, dtype=np.int32)
        passages = RawTexts(corpus.documents.file, made.ids, made.texts, no_lines)
        key = None if found.key is None else digest(found.key, "by passage", found.cut)
        return replace(found, documents=passages, splits=splits, key=key, cut=None)
    return replace(found, splits=splits)


def _names(given: Iterable[str], files: RawTexts, folder: str) -> dict[str, str]:
    """Return the file, or the passage of a file, that each id means; none for what is unknown."""
    names: dict[str, str] = {}
    for key in dict.fromkeys(given):
        plain = key.replace("\\", "/").removeprefix("./")
        for way in (key, plain, plain.removeprefix(f"{folder}/")):
            file, _, number = way.rpartition(SEPARATOR)
            if way in files.rows or (file in files.rows and re.fullmatch("[1-9][0-9]*", number)):
                names[key] = way
                break
    return names


def _refuse_both(judged: list[RawJudgements], names: Mapping[str, str], files: RawTexts) -> None:
    """Raise where some judgements are of files and some of passages."""
    first: dict[bool, str] = {}
    for each in judged:
        for row, key in enumerate(each.document_ids):
            if key in names:
                is_file = names[key] in files.rows
                first.setdefault(is_file, f"{each.place(row)} names {key!r}")
    if len(first) == 2:
        what = f"some questions name a file and some a passage: {first[True]}, {first[False]}"
        fix = "Name files in all, or passages in all."
        raise HarnessError(f"{judged[0].file}: {what}. {fix}", exit_code=ExitCode.DATA)
