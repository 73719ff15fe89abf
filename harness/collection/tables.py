"""Tables: the rows of delimited files, JSON lines and Parquet as records, columns by any name."""

from __future__ import annotations

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from harness.collection.reading import (
    BrokenInput,
    Record,
    existing,
    file_problem,
    identifier_of,
    listed,
    read_json_lines,
    read_lines,
    suffix_of,
    whole_number,
)
from harness.errors import did_you_mean

# Given the file and the names of its columns, returns those to read by our names; notes a problem
# and returns none if they do not fit.
Choose = Callable[[str, Sequence[str]], dict[str, str]]
# Which column of a file holds what, by our name of it: what a user says in `columns = {…}`.
Said = Mapping[str, str]
Line = tuple[int, str]
_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|", ".txt": "\t,;|"}  # the usual one first
_KINDS = ".csv, .tsv, .jsonl, .parquet"
JSON_ENDINGS = frozenset({".jsonl", ".ndjson", ".json"})
TABLE_ENDINGS = frozenset(
    {*_DELIMITERS, *JSON_ENDINGS, ".parquet"}
)  # files that are read, by their ending
_LONGEST_RECORD = 10_000  # lines: no text that is quoted over more is looked for


def columns(
    needed: Sequence[str],
    optional: Sequence[str],
    broken: BrokenInput,
    said: Said | None = None,
) -> Choose:
    """Return the choice of columns; an absent or double one is noted.

    Args:
        needed: our names of those that must be there.
        optional: of those that may.
        broken: takes the problems.
        said: as in `find_columns`; None where the user has no place to say it.
    """

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        every = find_columns((*needed, *optional), names, said or {})
        found = {name: given[0] for name, given in every.items() if given}
        broken.doubts += _choices(file, found, names, said)
        lacking = lacking_columns(needed, every, said or {})
        twice = sorted({name for name in found.values() if list(names).count(name) > 1})
        if said is None:
            for name in lacking:
                broken.add(file, absent(name, names))
        elif lacking:
            broken.add(file, unnamed(lacking, every, names, said))
        for name in twice:
            broken.add(file, f"column {name!r} is there twice. Rename one.")
        return {} if lacking or twice else found

    return choose


def judgement_columns(broken: BrokenInput) -> Choose:
    """Return the choice of the columns of judgements; a "score" or "label" may be the grade."""
    choose_any = columns(("query_id", "document_id"), ("grade", "score"), broken)

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        found = choose_any(file, names)
        grade = found.pop("grade", None) or found.pop("score", None)
        if found and grade is None:
            broken.add(file, absent("grade", names))
        return {**found, "grade": grade} if found and grade is not None else {}

    return choose


def _choices(
    file: str, found: dict[str, str], names: Sequence[str], said: Said | None
) -> Iterator[str]:
    """Yield where several columns could be the one that is meant."""
    for name, column in found.items():
        if name in (said or {}):
            continue
        others = [
            each for each in names if plain_name(each) in NAMES.get(name, ()) and each != column
        ]
        others = [each for each in others if each not in found.values()]
        if others and plain_name(column) != name:
            fix = f"Rename the right one to '{name}'."
            if said is not None:
                fix = f"If it is not, say columns = {{ {name} = {in_quotes(others[0])} }}."
            yield (
                f"{file}: {column!r} is read as the {name}, and {listed(others)} could be it, too. "
                f"{fix}"
            )


def read_records(
    path: Path, broken: BrokenInput, *, choose: Choose, header: Sequence[str] = ()
) -> Iterator[Record]:
    """Yield the rows of a file, their values by our names; what is wrong with it is noted.

    Args:
        path: the file; its ending says its kind, and that of a compression may follow (``.gz``).
        broken: takes the problems.
        choose: which columns to read.
        header: names of the columns of a delimited file that has no header line.
    """
    path = existing(path)
    match suffix_of(path):
        case ".csv" | ".tsv" | ".txt":
            return read_table(path, broken, choose=choose, header=header)
        case ".jsonl" | ".ndjson" | ".json":
            return renamed(read_json_lines(path, broken), choose)
        case ".parquet" if path.suffix.lower() == ".parquet":
            return read_parquet(path, broken, choose)
    problem = file_problem(path)
    if not problem or path.is_dir():
        problem = f"unknown kind of file {path.suffix!r}. Save it as one of {_KINDS}."
    broken.add(path, problem)
    return iter(())


def renamed(records: Iterable[Record], choose: Choose) -> Iterator[Record]:
    """Yield records with our names; each line of JSON may have keys of its own."""
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for record in records:
        names = tuple(record.values)
        if names not in known:
            known[names] = choose(record.place if known else record.file, names)
        if found := known[names]:
            values = {name: record.values[column] for name, column in found.items()}
            yield record._replace(values=values)


def read_table(
    path: Path, broken: BrokenInput, *, choose: Choose, header: Sequence[str] = ()
) -> Iterator[Record]:
    """Yield the rows of a delimited file; what is wrong with it is noted.

    Commas, semicolons, tabs or bars separate the fields, as the first line shows. Where tabs do,
    quotes are text unless a field needs them.
    """
    with _long_fields():
        # Excel says in a line ``sep=;`` what separates the fields.
        lines = (
            (number, line)
            for number, line in read_lines(path, broken)
            if number > 1 or not re.fullmatch(r'"?sep=."?\s*', line)
        )
        first = next(lines, None)
        if first is None:
            if not broken:
                broken.add(path, "is empty, got no header line. Write the columns and their rows.")
            return
        delimiter = delimiter_of(first[1], usual=_DELIMITERS.get(suffix_of(path), ",;\t|"))
        if delimiter == "\t":
            rows = _tab_rows(_chained(first, lines))
        else:
            rows = _quoted_rows(path, _chained(first, lines), delimiter, broken)
        yield from _records(path, rows, broken, choose, header)


def _records(
    path: Path,
    rows: Iterator[tuple[int, list[str]]],
    broken: BrokenInput,
    choose: Choose,
    header: Sequence[str],
) -> Iterator[Record]:
    names = list(header) or [name.strip() for name in next(rows, (1, [""]))[1]]
    found = choose(str(path), names)
    if not found:
        return
    places = {name: names.index(column) for name, column in found.items()}
    for line, row in rows:
        if row in ([], [""]):
            continue
        if len(row) < len(names) or any(row[len(names) :]):
            what = f"{len(names)} fields are needed, got {len(row)}. Quote the texts."
            broken.add(path, what, line=line, cause="number of fields")
        else:
            yield Record(str(path), line, {name: row[place] for name, place in places.items()})


def delimiter_of(line: str, *, usual: str) -> str:
    """Return what separates the fields of a header line, or of a first row.

    The delimiter that gives most names that we know, then most fields, then the usual one.

    >>> delimiter_of("query;document;notes, if any", usual=",;|")
    ';'
    """

    def gain(delimiter: str) -> tuple[int, int]:
        cells = _cells(line, delimiter)
        return sum(plain_name(cell) in KNOWN_NAMES for cell in cells), len(cells)

    return max(usual, key=gain)


def cells_of(line: str) -> list[str]:
    """Return the fields of a line, by whatever separates them."""
    return _cells(line, delimiter_of(line, usual="\t,;|"))


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter, strict=True), [""])
    except csv.Error:
        return line.rstrip("\r\n").split(delimiter)


def _chained(first: Line, lines: Iterator[Line]) -> Iterator[Line]:
    yield first
    yield from lines


def _quoted_rows(
    path: Path, lines: Iterator[Line], delimiter: str, broken: BrokenInput
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file whose texts are quoted where they must be, each with its line.

    A text that begins with a quote of its own would swallow the rows up to the next one: where each
    line of such a text could be a row by itself the file is refused.
    """
    taken: list[Line] = []

    def text() -> Iterator[str]:
        for number, line in lines:
            taken.append((number, line))
            yield line

    # strict: a quote left open would otherwise swallow the rest of the file without a word.
    rows = csv.reader(text(), delimiter=delimiter, strict=True)
    width = 0
    try:
        for row in rows:
            width = width or len(row)
            if len(taken) > 1 and len(row) == width:
                _check_swallowed(path, taken, delimiter, width, broken)
            if taken:
                yield taken[0][0], row
            taken.clear()
    except csv.Error as error:
        what = f"not a valid table ({error}). Close the quotes, and double those inside."
        broken.add(path, what, line=taken[0][0] if taken else 1)


def _check_swallowed(
    path: Path, taken: list[Line], delimiter: str, width: int, broken: BrokenInput
) -> None:
    if width < 2 or not all(_is_row(line, delimiter, width) for _, line in taken):
        return
    last = taken[-1][0]
    if width > 2 or len(taken) > 2:
        fix = "Double the quotes that are text and quote the field, or save as JSON lines."
        what = (
            f"a quote opens here and closes on line {last}, and each line between is a row. {fix}"
        )
        broken.add(path, what, line=taken[0][0], cause="quote over rows")
    else:
        broken.doubts.append(
            f"{path}:{taken[0][0]}: a quoted text goes on to line {last}, which could be a row of "
            "its own. Check that the quotes are no part of the texts."
        )


def _is_row(line: str, delimiter: str, width: int) -> bool:
    """Tell whether a line could be a row: as many fields, the first not empty, none indented."""
    cells = line.rstrip("\r\n").split(delimiter)
    indented = any(cell[:1].isspace() for cell in cells)
    return len(cells) == width and bool(cells[0]) and not indented


def _tab_rows(lines: Iterator[Line]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a file with tabs, each with its line.

    Logs write texts as they are; spreadsheets quote those with tabs, quotes or line breaks. A line
    with all its fields is a row, unless it opens a quoted text whose next lines have not.
    """
    width, all_quoted = 0, False
    ahead: deque[Line] = deque()
    while line := ahead.popleft() if ahead else next(lines, None):
        cells = _split(line)
        if '"' in line[1]:
            if not width:
                all_quoted = all(re.fullmatch(r'"[^"]*"', cell) for cell in cells)
            cells = _unquoted(line, lines, ahead, width, all_quoted=all_quoted)
        width = width or len(cells)
        yield line[0], cells


def _split(line: Line) -> list[str]:
    return line[1].rstrip("\r\n").split("\t")


def _unquoted(
    line: Line, lines: Iterator[Line], ahead: deque[Line], width: int, *, all_quoted: bool
) -> list[str]:
    """Return the fields of a line with quotes; more lines are taken where a quoted text has them.

    Args:
        line: with its number.
        lines: those that follow what is in `ahead`.
        ahead: lines that were looked at already.
        width: fields of a row; 0 for the header.
        all_quoted: the header has quotes around each name, so that all quotes are those of fields.
    """
    cells, taken = _split(line), [line]
    may_be_row = len(cells) == width and not all_quoted
    quoted = _parsed(taken)
    while quoted is None:
        following = ahead.popleft() if ahead else next(lines, None)
        ended = following is None or len(taken) == _LONGEST_RECORD
        if ended or (may_be_row and following and _is_row(following[1], "\t", width)):
            quoted = []
        if following is not None:
            taken.append(following)
            if quoted is None and '"' in following[1]:
                quoted = _parsed(taken)
    if not quoted or (len(quoted) != width and len(cells) == width):
        ahead.extendleft(reversed(taken[1:]))
        return cells
    if len(taken) == 1 and len(cells) == len(quoted) and not all_quoted:
        # A field in quotes that needs none, such as a searched phrase, has them as text.
        pairs = zip(cells, quoted, strict=True)
        return [inside if '""' in cell[1:-1] else cell for cell, inside in pairs]
    return quoted


def _parsed(lines: list[Line]) -> list[str] | None:
    """Return the fields of quoted lines; none if they are not valid, None while a quote is open."""
    try:
        return next(csv.reader((text for _, text in lines), delimiter="\t", strict=True), [])
    except csv.Error as error:
        return None if "unexpected end" in str(error) else []


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a field hold a whole document: csv stops at 131,072 characters otherwise."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_parquet(path: Path, broken: BrokenInput, choose: Choose) -> Iterator[Record]:
    """Yield the rows of a Parquet file; what is wrong with it is noted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    problem = file_problem(path)
    if problem:
        broken.add(path, problem)
        return
    try:
        table = pq.ParquetFile(path)
        found = choose(str(path), table.schema_arrow.names)
        line = 0
        wanted = list(dict.fromkeys(found.values()))
        for batch in table.iter_batches(columns=wanted) if found else ():
            for values in batch.to_pylist():
                line += 1
                row = {name: values[column] for name, column in found.items()}
                yield Record(str(path), line, row)
    except (OSError, ValueError, OverflowError, pa.ArrowException):
        broken.add(path, "damaged, or not a Parquet file. Write it again.")


def read_ids(path: Path, broken: BrokenInput) -> list[str]:
    """Return the query ids of a side file: one a line, or the column of a table."""
    path = existing(path)
    choose = columns(("query_id",), (), broken)
    if suffix_of(path) in {".jsonl", ".ndjson", ".json", ".parquet"}:
        records = read_records(path, broken, choose=choose)
    else:
        first = next((line for _, line in read_lines(path, BrokenInput())), "")
        names = {plain_name(cell) for cell in cells_of(first)}
        if names.isdisjoint(NAMES["query_id"]):
            return [text for _, line in read_lines(path, broken) if (text := line.strip())]
        records = read_table(path, broken, choose=choose)
    return [identifier_of(record, "query_id", broken) for record in records]


def known_id(key: str, known: Container[str]) -> str:
    """Return an id as a collection has it: pandas writes 7.0 for 7 where a row has none.

    >>> known_id("7.0", {"7"}), known_id("7.0", {"7.0"}), known_id("x", {"7"})
    ('7', '7.0', 'x')
    """
    if not re.fullmatch(r"[0-9]{1,15}\.0", key) or key in known:
        return key
    whole = whole_number(float(key))
    return whole if whole in known else key


# Our name of a column comes first, then what it is called elsewhere, the usual ones first.
NAMES: Mapping[str, tuple[str, ...]] = {
    "query": ("query", "anchor", "question", "search_term", "search_query", "query_text"),
    "document": (
        *("document", "positive", "pos", "answer", "passage", "response", "text"),
        *("document_text", "doc_text", "passage_text", "page_text"),
    ),
    "query_id": ("query_id", "qid", "q_id", "queryid"),
    "document_id": (
        *("document_id", "doc_id", "docid", "docno", "did", "corpus_id", "passage_id", "pid"),
    ),
    "grade": ("grade", "relevance", "rel", "judgement", "judgment", "rating"),
    "rank": ("rank", "position"),
    "negative": ("negative", "neg", "hard_negative", "negative_1"),
    "sentence1": ("sentence1", "sentence_1", "sentence_a", "text1", "question1", "anchor", "query"),
    "sentence2": (
        *("sentence2", "sentence_2", "sentence_b", "text2", "question2", "positive", "document"),
    ),
    "score": ("score", "similarity_score", "similarity", "sim", "relatedness_score", "label"),
    "distance": ("distance", "_distance", "dist"),
    "label": ("label", "labels", "gold_label", "is_duplicate"),
    "premise": ("premise", "sentence1"),
    "hypothesis": ("hypothesis", "sentence2"),
    "clicks": ("clicks", "click_count"),
    "impressions": ("impressions", "views"),
    "text": ("text", "sentence", "document", "passage", "content", "contents"),
    "split": ("split",),
}
KNOWN_NAMES = frozenset(name for names in NAMES.values() for name in names)
_IDS = ("_id", "id", "url")  # of documents or queries, in a file of nothing else
_NEGATIVE = re.compile(r"(hard_)?neg(ative)?_[0-9]+")


def plain_name(name: object) -> str:
    """Return the name of a column as names are compared: ``Query-ID`` is ``query_id``."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def find_columns(
    wanted: Iterable[str], names: Sequence[str], said: Said = MappingProxyType({})
) -> dict[str, list[str]]:
    """Return the columns that hold what is wanted, by our name; one that is absent has none.

    A name that we do not know has no others. Only "negative" may have several columns. What the
    user says comes first, and a column that is said to be one thing is no other.

    >>> find_columns(["query", "negative"], ["Question", "negative_1", "negative_2"])
    {'query': ['Question'], 'negative': ['negative_1', 'negative_2']}
    >>> find_columns(["query", "document"], ["question", "text"], {"document": "question"})
    {'query': [], 'document': ['question']}
    """
    taken = set(said.values())
    lowered = {plain_name(name): name for name in reversed(names) if name not in taken}
    found: dict[str, list[str]] = {}
    for name in wanted:
        if name in said:
            found[name] = [said[name]] if said[name] in names else []
            continue
        exact = [name] if name in names and name not in taken else []
        usual = NAMES.get(name, (plain_name(name),))
        others = [lowered[other] for other in usual if other in lowered]
        found[name] = (exact or others)[:1]
    if "negative" in found:
        more = [name for low, name in lowered.items() if _NEGATIVE.fullmatch(low)]
        found["negative"] = sorted({*found["negative"], *more}, key=list(names).index)
    return found


def lacking_columns(
    needed: Iterable[str], found: Mapping[str, Sequence[str]], said: Said
) -> list[str]:
    """Return what is needed, or said to be in the file, and has no column there."""
    return [name for name in found if not found[name] and (name in needed or name in said)]


def unnamed(
    lacking: Sequence[str],
    found: Mapping[str, Sequence[str]],
    names: Sequence[str],
    said: Said,
) -> str:
    """Return the sentence for absent columns; it ends with the line of the suite that names them.

    Args:
        lacking: what has no column.
        found: the columns of everything that can be read, by our name, as `find_columns` tells.
        names: all columns of the file.
        said: as in `find_columns`.
    """
    if any(len(str(other).split()) > 3 for other in names):  # texts: the names are missing
        return absent(lacking[0], names)
    parts = []
    for name in lacking:
        usual = [f"'{other}'" for other in NAMES.get(name, ())[1:]]
        also = f" (or {', '.join(usual)})" if usual else ""
        parts.append(f"{said[name]!r} for '{name}'" if name in said else f"'{name}'{also}")
    line = columns_line(found, names, needed=lacking)
    return f"no column {' and no '.join(parts)}, got {listed(names)}. Say which is which: {line}"


def columns_line(
    found: Mapping[str, Sequence[str]], names: Sequence[str], *, needed: Iterable[str] = ()
) -> str:
    """Return ``columns = {…}`` as a suite could say it: what is found, and guesses for the rest.

    >>> log = ["search_term", "clicked_url", "page_text", "clicks", "timestamp"]
    >>> columns_line(find_columns(["query", "document", "document_id", "grade"], log), log)
    'columns = { query = "search_term", document = "page_text", document_id = "clicked_url", \
grade = "clicks" }'
    """
    chosen = {name: columns[0] for name, columns in found.items() if columns}
    left = [name for name in names if name not in chosen.values()]
    # An id before the text: "page_url" has a word of both.
    for name in sorted(found, key=lambda each: not each.endswith("_id")):
        likely = max(left, key=lambda each: _likeness(name, each), default="")
        if name not in chosen and likely and _likeness(name, likely):
            chosen[name] = likely
            left.remove(likely)
    for name in needed:
        if name not in chosen:
            chosen[name] = left.pop(0) if left else "…"
    said = ", ".join(f"{name} = {in_quotes(chosen[name])}" for name in found if name in chosen)
    return f"columns = {{ {said} }}"


# Words in the name of a column that tell what it holds.
_WORDS = {
    "query": "query|queries|question|search|term|keywords?|phrase|q",
    "document": "document|doc|text|page|content|body|passage|answer|article|product|item|snippet",
    "grade": "grade|clicks?|count|rating|label|score|relevance",
    "split": "split|fold|subset|partition",
    "clicks": "clicks?|count",
    "text": "text|content|body|sentence",
}
_ADDRESSES = frozenset({"url", "uri", "link", "href", "sku", "asin", "slug"})


def _likeness(name: str, column: str) -> int:
    """Return how well the name of a column fits what is meant; 0 where nothing speaks for it."""
    words = set(plain_name(column).split("_"))
    side = name.removesuffix("_id")
    known = sum(bool(re.fullmatch(_WORDS.get(side, side), word)) for word in words)
    if side != name:
        is_address = side == "document" and not words.isdisjoint(_ADDRESSES)
        return 1 + known if is_address or ("id" in words and known) else 0
    is_typo = bool(get_close_matches(plain_name(column), NAMES.get(name, (name,)), 1, 0.75))
    return 0 if words & {*_ADDRESSES, "id", "time", "date"} else known + is_typo


def in_quotes(text: str) -> str:
    """Return a text in quotes, as TOML has it."""
    return json.dumps(text, ensure_ascii=False)


def text_columns(
    side: str, more: Sequence[str], broken: BrokenInput, said: Said | None = None
) -> Choose:
    """Return the choice of an ``id`` and a ``text``, as BEIR calls them, of documents or queries.

    Args:
        side: "document" or "query".
        more: columns that are read where they are.
        broken: takes the problems.
        said: as in `columns`. It is said of another file too, where the id may have another name.
    """
    key = f"{side}_id"

    def choose(file: str, names: Sequence[str]) -> dict[str, str]:
        known = {plain_name(each): each for each in reversed(names)}
        ids = next((known[each] for each in (*NAMES[key], *_IDS) if each in known), key)
        usual = dict.fromkeys((side, "text", *NAMES[side], *NAMES["text"]))
        text = next((known[each] for each in usual if each in known), "text")
        if said is not None:
            text = said.get(side, text)
            ids = said[key] if said.get(key) in names else ids
            if text not in names:
                others = [each for each in names if each != ids]
                broken.add(file, unnamed([side], {side: []}, others, said))
                return {}
        found = columns((ids, text), more, broken)(file, names)
        return {{ids: "id", text: "text"}.get(name, name): each for name, each in found.items()}

    return choose


def absent(name: str, names: Sequence[str]) -> str:
    """Return the sentence for a column that is not there under any of its names."""
    others = [f"'{other}'" for other in NAMES.get(name, ())[1:]]
    also = f" (or {', '.join(others)})" if others else ""
    hint = did_you_mean(name, names)
    fix = hint if "Did you mean" in hint else f" Rename the column to '{name}'."
    if any(len(str(other).split()) > 3 for other in names):  # texts: the names are missing
        fix = f"{fix} If the first line is a row, write the names of the columns before it."
    return f"no column '{name}'{also}, got {listed(names)}.{fix}"
