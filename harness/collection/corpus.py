"""Read documents alone, for pairs that know theirs by id: a table, or the corpus of a BEIR folder.

Columns of a table: an id (`document_id`, `id`, `url`, …), the text (`document`, `text`, …) and
where it exists `title`, which comes before the text. Documents that no pair names are read too.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from harness.collection.beir import documents_of, read_documents
from harness.collection.layout import corpus_of, label_of
from harness.collection.raw import RawCollection
from harness.collection.reading import BrokenInput, existing
from harness.collection.tables import Said, read_records, text_columns

CORPUS = "corpus"  # of a source that is read here


def read_corpus(path: Path, *, columns: Said = MappingProxyType({})) -> RawCollection:
    """Read the documents of a file or a BEIR folder, as a collection without splits.

    Args:
        path: of the file or folder.
        columns: which column of a file holds "document" and "document_id"; an id that goes by
            another name here than in the pairs is found by its usual names.

    Raises:
        HarnessError: it is missing, empty or broken; all of it is told at once.
    """
    broken = BrokenInput()
    if path.is_dir():
        files = corpus_of(path, broken)
        documents = read_documents(files, broken)
    else:
        file = existing(path)
        files = (file,)
        choose = text_columns("document", ("title",), broken, columns)
        documents = documents_of(str(file), read_records(file, broken, choose=choose), broken)
    if not documents.ids and not broken:
        broken.add(label_of(files), "no documents. Add rows of an id and a text.")
    broken.raise_if_any()
    return RawCollection(f"{CORPUS}:{path}", documents, {}, notes=tuple(broken.doubts))


def corpus_files(path: Path) -> list[Path]:
    """Return every file that `read_corpus` looks at."""
    files = corpus_of(path, BrokenInput()) if path.is_dir() else (existing(path),)
    return [file for file in files if file.is_file()]
