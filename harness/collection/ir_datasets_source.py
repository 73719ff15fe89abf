"""Read a dataset of ir_datasets by its id, from its own cache where the files are there.

An id with judgements, such as ``beir/scifact/test``, is the split "test". An id without, such as
``beir/scifact``, has the splits of its parts that have judgements, here "train" and "test". Texts
are the default ones of ir_datasets: a title, where there is one, comes before the text.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from harness.collection.raw import (
    NO_LINES,
    RawCollection,
    RawJudgements,
    RawSplit,
    RawTexts,
    Reading,
)
from harness.collection.reading import excerpt
from harness.errors import ExitCode, HarnessError, did_you_mean

# What a download, an archive or the parser of a format raises.
_UNREADABLE = (OSError, RuntimeError, ValueError, LookupError, EOFError, ImportError, zlib.error)


def read_ir_datasets(name: str, how: Reading) -> RawCollection:
    """Read all splits of a dataset; what its cache lacks is downloaded.

    Args:
        name: the id.
        how: it is read; there are no columns to name.

    Raises:
        HarnessError: exit code 2 where ir_datasets is not installed or knows no such id; 3 where
            the dataset has no documents or judgements, or its files cannot be had.
    """
    file = f"ir_datasets:{name}"
    if how.clusters is not None:
        raise HarnessError(
            f"clusters = {how.clusters!r}: the queries of {file} have no columns. "
            'Use clusters = "document" or none.',
            exit_code=ExitCode.USAGE,
        )
    parts = _parts(name)
    if not parts:
        below = [each for each in _installed().registry if each.startswith(f"{name}/")]
        got = did_you_mean(name, below) if below else " Name another."
        raise HarnessError(
            f"{file}: no documents with queries and judgements.{got}", exit_code=ExitCode.DATA
        )
    try:
        documents = _texts(file, next(iter(parts.values())).docs_iter(), "doc_id")
        splits = {
            split: RawSplit(
                _texts(file, part.queries_iter(), "query_id"), _judgements(file, part.qrels_iter())
            )
            for split, part in parts.items()
        }
    except _UNREADABLE as error:
        reason = excerpt(next(iter(str(error).splitlines()), "") or type(error).__name__)
        home = _installed().util.home_path()
        raise HarnessError(
            f"{file}: its files are not all in {home}, and cannot be fetched ({reason}). Check the "
            f"network, or run once with a network: ir_datasets export {name} docs.",
            exit_code=ExitCode.DATA,
        ) from error
    return RawCollection(file, documents, splits)


def ir_datasets_files(name: str) -> list[Path]:
    """Return the files of a dataset where ir_datasets tells all of them, else none."""
    found: list[Path] = []
    try:
        for part in _parts(name).values():
            docs = Path(part.docs_path(force=False))
            found += [docs, Path(part.queries_path()), Path(part.qrels_path())]
    except (AttributeError, TypeError, HarnessError, *_UNREADABLE):
        return []
    return found if all(path.is_file() for path in found) else []


def _installed() -> ModuleType:
    try:
        import ir_datasets
    except ImportError as error:
        raise HarnessError(
            "'ir_datasets:' needs the package ir_datasets. Install it: "
            "pip install 'embedding-harness[ir-datasets]'.",
            exit_code=ExitCode.USAGE,
        ) from error
    module: ModuleType = ir_datasets
    return module


def _parts(name: str) -> dict[str, Any]:
    """Return the dataset of each split."""
    registry = _installed().registry
    try:
        whole = registry[name]
    except KeyError:
        raise HarnessError(
            f"ir_datasets:{name}: no such dataset.{did_you_mean(name, list(registry))}",
            exit_code=ExitCode.USAGE,
        ) from None

    def is_judged(part: Any) -> bool:
        return bool(part.has_docs() and part.has_queries() and part.has_qrels())

    if is_judged(whole):
        return {"test": whole}
    inner = [each for each in registry if each.rpartition("/")[0] == name]
    return {
        each.rpartition("/")[2]: registry[each]
        for each in sorted(inner)
        if whole.has_docs() and is_judged(registry[each])
    }


def _texts(file: str, items: Any, key: str) -> RawTexts:
    ids, texts = [], []
    for item in items:
        ids.append(str(getattr(item, key)))
        texts.append(str(item.default_text()).strip())
    return RawTexts(file=file, ids=tuple(ids), texts=tuple(texts), lines=NO_LINES)


def _judgements(file: str, items: Any) -> RawJudgements:
    rows = [(str(item.query_id), str(item.doc_id), int(item.relevance)) for item in items]
    return RawJudgements(
        file=file,
        query_ids=tuple(row[0] for row in rows),
        document_ids=tuple(row[1] for row in rows),
        grades=np.array([row[2] for row in rows], dtype=np.int32),
        lines=NO_LINES,
    )
