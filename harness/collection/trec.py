"""Read a folder of TREC files: documents, topics and judgements, found by their names.

A name with the word ``docs``, ``documents``, ``corpus`` or ``collection`` holds documents, one with
``topics`` or ``queries`` topics, one with ``qrels`` or ``judgements`` judgements; each is a file or
a folder of them, compressed or not.

Documents are SGML (``<DOC>`` with a ``<DOCNO>``; their text is that of the elements that Anserini's
TrecCollection and ir_datasets take, or else all of it), or tables: with a header, or without one as
MS MARCO's (``pid passage``, ``docid url title body``). Topics are SGML (``<top>``), XML
(``<topic number="1">``) or lines of an id and a text; the query is the title unless the suite names
another field. Judgements are those of `qrels`; a single file of them is the split "test".
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from harness.collection.beir import documents_of, queries_of
from harness.collection.columns import KNOWN_NAMES, plain_name, text_columns
from harness.collection.layout import as_one, label_of, layout_of
from harness.collection.qrels import read_judgements
from harness.collection.raw import RawCollection, RawSplit, Reading
from harness.collection.reading import (
    BrokenInput,
    Record,
    folder_problem,
    listed,
    read_lines,
    suffix_of,
    unpacked_name,
)
from harness.collection.tables import TABLE_ENDINGS, cells_of, read_records, read_table
from harness.errors import ExitCode, HarnessError

_WORDS = {
    "judgements": ("qrel", "judgement", "judgment"),
    "topics": ("topic", "quer"),
    "documents": ("doc", "corpus", "collection"),
}
_CONTENT = "TEXT|HEADLINE|TITLE|HL|HEAD|TTL|DD|DATE|LP|LEADPARA"
_ELEMENT = re.compile(rf"<({_CONTENT})(?:\s[^>]*)?>", re.IGNORECASE)
_OPENED = re.compile(r"<(DOC)(?:\s[^>]*)?>", re.IGNORECASE)
_DOCNO = re.compile(r"<DOCNO>\s*(.*?)\s*</DOCNO>", re.DOTALL | re.IGNORECASE)
_ABOUT = re.compile(r"<(DOC\w+)>.*?</\1>", re.DOTALL | re.IGNORECASE)  # its number, type, header
_TAG = re.compile(r"<[^<>]*>")
_TOP = re.compile(r"<top>(.*?)</top>", re.DOTALL | re.IGNORECASE)
_FIELD = re.compile(r"<(\w+)[^<>]*>([^<]*)")
_LABEL = re.compile(r"^(Number|Topic|Title|Description|Narrative)\s*:\s*", re.IGNORECASE)
_LINE = re.compile(r"([^\s:,;]+)\s*[:,;]?\s*(.*)")
_TOPIC_IDS = ("num", "number", "qid", "id", "query_id", "topic_id")
_TOPIC_TEXTS = ("title", "query", "question", "text", "topic", "desc", "description")
# The columns of a table of documents without a header, by their number: MS MARCO's.
_HEADERS = {2: ("id", "text"), 3: ("id", "title", "text"), 4: ("id", "url", "title", "text")}


class _Files(NamedTuple):
    documents: list[Path]
    topics: list[Path]
    judgements: list[Path]


def read_trec(folder: Path, how: Reading) -> RawCollection:
    """Read all splits of a folder.

    Args:
        folder: of the files.
        how: it is read; of `columns` only "query", the field of a topic that is the query.

    Raises:
        HarnessError: anything in the folder is missing or broken; all problems at once.
    """
    said = dict(how.columns)
    if how.clusters is not None or not {"query"}.issuperset(said):
        raise HarnessError(
            "a trec: source has topics with fields, not columns. Write columns = "
            '{ query = "description" } to use a field other than the title, or remove the key.',
            exit_code=ExitCode.USAGE,
        )
    broken = BrokenInput()
    if problem := folder_problem(folder):
        broken.add(folder, problem)
    broken.raise_if_any()
    files = _found(folder)
    for kind, found in files._asdict().items():
        if not found:
            got = listed(sorted(path.name for path in folder.glob("[!.]*")))
            parts = layout_of(folder, BrokenInput())
            fix = f"Name them '{kind}' with any ending."
            if parts.judgements and len(parts.files) > len(parts.judgements):
                fix = f"Write beir:{folder}, whose layout it has."
            broken.add(folder, f"no {kind}, got {got}. {fix}")
    broken.raise_if_any()
    field = said.get("query")
    topics = (topic for path in files.topics for topic in _topics(path, field, broken))
    queries = as_one(queries_of(label_of(files.topics), topics, None, broken), files.topics)
    texts = (text for path in files.documents for text in _documents(path, broken))
    label = label_of(files.documents)
    documents = as_one(documents_of(label, texts, broken, into=how.into), files.documents)
    splits = {
        name: RawSplit(queries, read_judgements([path], broken))
        for name, path in _splits(files.judgements, broken).items()
    }
    broken.raise_if_any()
    return RawCollection(f"trec:{folder}", documents, splits, notes=tuple(broken.doubts))


def trec_files(folder: Path) -> list[Path]:
    """Return every file that `read_trec` looks at."""
    return [path for part in _found(folder) for path in part]


def _found(folder: Path) -> _Files:
    """Return the files by what their name, or that of a folder they lie in, says they hold."""
    found = _Files([], [], [])
    for path in sorted(folder.glob("[!._]*")):
        words = re.split("[^a-z]+", path.name.lower())
        kinds = [
            kind
            for kind, starts in _WORDS.items()
            if any(word.startswith(starts) for word in words)
        ]
        if path.is_dir() and len(kinds) > 1:  # such as "topics-and-qrels"
            for files, more in zip(found, _found(path), strict=True):
                files.extend(more)
        elif kinds:
            below = sorted(path.rglob("[!._]*")) if path.is_dir() else [path]
            getattr(found, kinds[0]).extend(each for each in below if each.is_file())
    return found


def _splits(files: Sequence[Path], broken: BrokenInput) -> dict[str, Path]:
    """Return the file of each split: one alone is "test", several are named without "qrels"."""
    if len(files) == 1:
        return {"test": files[0]}
    splits: dict[str, Path] = {}
    for path in files:
        stem = Path(unpacked_name(path.name)).stem
        name = re.sub(r"[-_.]*(qrels?|judge?ments?)[-_.]*", ".", stem).strip(".") or stem
        if name in splits:
            what = f"judges split {name!r}, as {splits[name].name} does. Keep one of the two."
            broken.add(path, what)
        splits.setdefault(name, path)
    return splits


def _is_markup(path: Path) -> bool:
    if suffix_of(path) in TABLE_ENDINGS - {".txt"}:
        return False
    first = next((line for _, line in read_lines(path, BrokenInput()) if line.strip()), "")
    return first.lstrip().startswith("<")


def _documents(path: Path, broken: BrokenInput) -> Iterator[Record]:
    if suffix_of(path) not in TABLE_ENDINGS or _is_markup(path):
        yield from _sgml_documents(path, broken)
        return
    choose = text_columns("document", ("title",), broken)
    if suffix_of(path) in {".csv", ".tsv", ".txt"}:
        header = () if _has_header(path) else _HEADERS.get(len(_first_cells(path)), ())
        yield from read_table(path, broken, choose=choose, header=header)
    else:
        yield from read_records(path, broken, choose=choose)


def _first_cells(path: Path) -> list[str]:
    return cells_of(next((line for _, line in read_lines(path, BrokenInput())), ""))


def _has_header(path: Path) -> bool:
    return any(plain_name(cell) in KNOWN_NAMES for cell in _first_cells(path))


def _sgml_documents(path: Path, broken: BrokenInput) -> Iterator[Record]:
    """Yield the documents of a file one after the other, whatever its size."""
    block: list[str] = []
    start = count = 0
    for number, line in read_lines(path, broken):
        if not block and not _OPENED.search(line):
            continue
        start = start if block else number
        block.append(line)
        if "</DOC>" not in line and "</doc>" not in line:
            continue
        body = "".join(block)
        end = 0
        for text, end in _elements(_OPENED, body):  # noqa: B007 - the last one counts
            count += 1
            yield _sgml_document(path, start, text, broken)
        rest = body[end:]
        block, start = ([rest], number) if _OPENED.search(rest) else ([], 0)
    if block:
        broken.add(path, "a <DOC> opens here and is not closed. Add </DOC>.", line=start)
    elif not count:
        broken.doubts.append(f"{path}: no <DOC>, and not a table. Left out.")


def _sgml_document(path: Path, line: int, body: str, broken: BrokenInput) -> Record:
    number = _DOCNO.search(body)
    if number is None:
        broken.add(path, "a document without <DOCNO>. Add it.", line=line)
    parts = [part for part, _ in _elements(_ELEMENT, body)] or [_ABOUT.sub(" ", body)]
    text = " ".join(_plain(part) for part in parts)
    return Record(str(path), line, {"id": number[1] if number else "-", "text": text})


def _elements(opening: re.Pattern[str], body: str) -> Iterator[tuple[str, int]]:
    """Yield what each outermost element holds that a tag opens, and where it ends."""
    end = 0
    while found := opening.search(body, end):
        closing = f"</{found[1]}>"
        close = body.find(closing, found.end())
        if close < 0:
            return
        end = close + len(closing)
        yield body[found.end() : close], end


def _plain(markup: str) -> str:
    """Return the text of some markup, white space as one blank."""
    return " ".join(html.unescape(_TAG.sub(" ", markup)).split())


def _topics(path: Path, field: str | None, broken: BrokenInput) -> Iterator[Record]:
    """Yield an id and a text for each topic of a file."""
    if _is_markup(path):
        text = "".join(line for _, line in read_lines(path, broken))
        topics = list(_xml_topics(text) or _sgml_topics(text))
        for row, fields in enumerate(topics, start=1):
            yield _topic(path, row, fields, field, broken)
        if not topics:
            broken.add(path, "neither <top> nor <topic>. Rename files without topics.")
    elif suffix_of(path) in TABLE_ENDINGS and (
        suffix_of(path) not in {".csv", ".tsv", ".txt"} or _has_header(path)
    ):
        yield from read_records(path, broken, choose=text_columns("query", (), broken))
    else:
        for number, line in read_lines(path, broken):
            key, tab, text = line.strip().partition("\t")
            found = None if tab else _LINE.fullmatch(key)
            values = {"id": key, "text": text}
            if found is not None:
                values = {"id": found[1], "text": found[2]}
            if line.strip():
                yield Record(str(path), number, values)


def _xml_topics(text: str) -> list[dict[str, str]]:
    """Return the fields of each topic of an XML file; none where it is none."""
    try:
        root = ET.fromstring(text.lstrip("\ufeff \r\n"))  # noqa: S314 - the user's own file
    except ET.ParseError:
        return []
    return [
        {
            **{name.lower(): value for name, value in topic.attrib.items()},
            topic.tag.lower(): topic.text or "",
            **{child.tag.lower(): "".join(child.itertext()) for child in topic},
        }
        for topic in ([root] if root.tag.lower() == "top" else root)
    ]


def _sgml_topics(text: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each topic in TREC's SGML, whose elements need not be closed."""
    for found in _TOP.finditer(text):
        yield {name.lower(): html.unescape(value) for name, value in _FIELD.findall(found[1])}


def _topic(
    path: Path, row: int, fields: Mapping[str, str], field: str | None, broken: BrokenInput
) -> Record:
    said = {name: _LABEL.sub("", " ".join(text.split())) for name, text in fields.items()}
    key = next((said[name] for name in _TOPIC_IDS if said.get(name)), "")
    if field is None:
        text = next((said[name] for name in _TOPIC_TEXTS if said.get(name)), "")
    else:
        near = (name for name in said if name.startswith(field) or field.startswith(name))
        text = next((said[name] for name in near), "")
    if not key or not text:
        what = f"topic {row} has no {'number' if not key else field or 'title'}"
        given = listed(name for name, value in said.items() if value)
        fix = f'Say which field it is: columns = {{ query = "{field or "description"}" }}.'
        broken.add(path, f"{what}, got {given}. {fix if key else 'Add it.'}", cause=what[-9:])
    return Record(str(path), row, {"id": key or "-", "text": text or "-"})
