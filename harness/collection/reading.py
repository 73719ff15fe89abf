"""Read lines and fields of the user's files, and collect everything that is wrong with them."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.urls import RemotePath

_SHOWN_PROBLEMS = 20
_SHOWN_VALUES = 3
_SHOWN_PLACES = 5
_SHOWN_CHARACTERS = 40
_LONGEST_LINE = 2**26  # bytes; a compressed file may hold any number of them in one line
_LARGEST_EXACT = 2.0**53
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
PACKED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}  # that we unpack
_ARCHIVES = (".7z", ".rar", ".tar", ".tgz", ".zip")
_UNREADABLE = (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError)

_Binary = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | BufferedReader


class BrokenInput:
    """What is wrong with the files of one source: each cause once, all raised together.

    Attributes:
        doubts: what could be read in another way, or was left out, for the audit to report.
    """

    def __init__(self) -> None:
        self._causes: dict[tuple[str, str], _Cause] = {}
        self.doubts: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._causes)

    def add(self, where: object, what: str, *, line: int | None = None, cause: str = "") -> None:
        """Note one problem.

        Args:
            where: the file.
            what: a sentence about it, followed by the fix.
            line: line or row in the file.
            cause: what all problems of one cause have in common, where `what` quotes a value; more
                than three are reported as one, with their number and the first places.
        """
        found = self._causes.setdefault((str(where), cause or what), _Cause())
        found.count += 1
        found.differs = bool(cause)
        if len(found.first) < _SHOWN_VALUES:
            found.first.append(f"{where}{'' if line is None else f':{line}'}: {what}")
        if line is not None and len(found.lines) < _SHOWN_PLACES and line not in found.lines:
            found.lines.append(line)

    def problems(self) -> list[str]:
        """Return the messages of each cause, the first 20 in full."""
        found = [message for cause in self._causes.values() for message in cause.messages()]
        hidden = len(found) - _SHOWN_PROBLEMS
        return [*found[:_SHOWN_PROBLEMS], f"and {hidden} more."] if hidden > 0 else found

    def raise_if_any(self) -> None:
        """Raise one `HarnessError` with all problems."""
        if self._causes:
            raise HarnessError(self.problems(), exit_code=ExitCode.DATA)


@dataclass
class _Cause:
    """Problems of one cause in one file: the first messages, all counted, some of their lines."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    differs: bool = False

    def messages(self) -> list[str]:
        if self.count <= len(self.first) and self.differs:
            return self.first
        if self.count == 1 or not self.lines:
            return self.first[:1]
        places = ", ".join(map(str, self.lines)) + (", …" if self.count > len(self.lines) else "")
        return [f"{self.first[0]} {self.count:,} times, on lines {places}."]


class Record(NamedTuple):
    """One line of a file, as named values."""

    file: str
    line: int
    values: Mapping[str, Any]

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    @property
    def is_written(self) -> bool:
        """Whether a person can edit the value where it stands; tables elsewhere are typed."""
        typed = self.file.lower().endswith((".parquet", ".parq", "]"))
        return not typed and not self.file.startswith("hf:")


def excerpt(value: object) -> str:
    """Return how a message quotes a value: cut after 40 characters."""
    shown = value if isinstance(value, str) else json.dumps(value, default=repr)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}..."
    return repr(shown) if isinstance(value, str) else shown


def missing(kind: str, name: str, found: Iterable[str]) -> str:
    """Return the sentence for a key or column that is not there."""
    names = list(found)
    hint = did_you_mean(name, names)
    fix = hint if "Did you mean" in hint else f" Add the {kind}."
    return f"no {kind} {name!r}, got {listed(names)}.{fix}"


def listed(names: Iterable[str]) -> str:
    """Return how a message lists the keys or columns that a file has: the first 20."""
    quoted = [excerpt(str(name)) for name in names]
    more = ", …" if len(quoted) > _SHOWN_PROBLEMS else ""
    return ", ".join(quoted[:_SHOWN_PROBLEMS]) + more or "none"


def existing(path: Path) -> Path:
    """Return the path of a file, or that of its compressed form where only that one exists."""
    packed = [path.with_name(f"{path.name}{ending}") for ending in PACKED]
    found = [] if path.exists() else [each for each in packed if each.exists()]
    return found[0] if len(found) == 1 else path


def suffix_of(path: Path) -> str:
    """Return the ending that says the kind of a file, in lower case; a compression has none."""
    return Path(unpacked_name(path.name.lower())).suffix


def unpacked_name(name: str) -> str:
    """Return the name of a file without the ending of its compression.

    >>> unpacked_name("corpus.jsonl.zst"), unpacked_name("corpus.jsonl")
    ('corpus.jsonl', 'corpus.jsonl')
    """
    return name[: -len(ending)] if (ending := _packing(name)) else name


def _packing(name: str) -> str:
    """Return the ending that says how a file is compressed; "" where it is not."""
    return ending if (ending := Path(name).suffix.lower()) in PACKED else ""


def file_problem(path: Path) -> str:
    """Return why a file cannot be read, with the fix; "" where it can be opened."""
    try:
        if path.is_file():
            return ""
        if path.is_dir():
            return "a file is needed, got a folder. Name a file."
        if path.exists():
            return "not a regular file, got a device or pipe. Save it as a file."
        parent = path.parent
        near = sorted(each.name for each in parent.iterdir()) if parent.is_dir() else []
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or 'not a path'}). Check it."
    same = [name for name in near if name.startswith(f"{path.stem}.")]
    hint = f" The folder has {listed(same)}." if same else did_you_mean(path.name, near[:1000])
    known = hint if same or "Did you mean" in hint else ""
    fix = "Check the path."
    if same and all(name.endswith(_ARCHIVES) for name in same):
        fix = "Unpack it."
    elif sum(unpacked_name(name) == path.name for name in same) > 1:
        fix = "Keep one of the compressed files."
    return f"cannot be read (No such file or directory).{known} {fix}"


def folder_problem(folder: Path) -> str:
    """Return why a folder cannot be read, with the fix; "" where there is one."""
    if folder.is_dir():
        return ""
    if folder.exists():
        return "a folder is needed, got a file. Name its folder."
    if not folder.parent.is_dir():
        return f"no such folder, nor {str(folder.parent)!r}. Check the path."
    near = [path.name for path in folder.parent.iterdir() if path.is_dir()]
    return f"no such folder.{did_you_mean(folder.name, near)}"


def read_lines(path: Path, broken: BrokenInput) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each line, with its line end.

    A file that ends in ``.gz``, ``.bz2``, ``.xz`` or ``.zst`` is unpacked. A byte order mark is
    dropped, and UTF-16 is read where one says so. A line that is not UTF-8 is a problem, and
    yielded with replacement characters so that the rest of the file is still read.
    """
    problem = file_problem(path)
    if problem:
        broken.add(path, problem)
        return
    try:
        with _opened(path) as handle:
            start = handle.read(4)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            with _opened(path) as handle:
                text = io.TextIOWrapper(handle, encoding="utf-16", newline="\n")
                yield from enumerate(text, start=1)
            return
        with _opened(path) as handle:
            yield from _decoded(path, _raw_lines(path, handle, broken), broken)
    except UnicodeDecodeError:
        what = "begins like UTF-16 and is not valid as such. Save the file as UTF-8."
        broken.add(path, what)
    except _UNREADABLE as error:
        why = f"cannot be read ({getattr(error, 'strerror', None) or error}). Check the path."
        ending = _packing(path.name)
        if ending and not (isinstance(error, OSError) and error.errno):
            why = f"damaged, or not compressed with {PACKED[ending]}. Compress it again."
        broken.add(path, why)


def _opened(path: Path) -> _Binary:
    given = path.open("rb") if isinstance(path, RemotePath) else str(path)
    match _packing(path.name):
        case ".gz":
            return gzip.open(given, "rb")
        case ".bz2":
            return bz2.open(given, "rb")
        case ".xz":
            return lzma.open(given, "rb")
        case ".zst":
            import pyarrow as pa

            return BufferedReader(pa.input_stream(given, compression="zstd"))
    return path.open("rb")


def _raw_lines(path: Path, handle: _Binary, broken: BrokenInput) -> Iterator[bytes]:
    number = 0
    while body := handle.readline(_LONGEST_LINE):
        number += 1
        if len(body) == _LONGEST_LINE and not body.endswith(b"\n"):
            limit = f"{_LONGEST_LINE // 2**20} MiB"
            broken.add(path, f"longer than {limit}. Break the line or shorten it.", line=number)
            return
        if number == 1 and b"\r" in body.rstrip(b"\r\n") and handle.peek(1) == b"":
            yield from body.splitlines(keepends=True)  # carriage returns alone, as old Macs wrote
        else:
            yield body


def _decoded(path: Path, lines: Iterable[bytes], broken: BrokenInput) -> Iterator[tuple[int, str]]:
    for number, body in enumerate(lines, start=1):
        encoding = "utf-8-sig" if number == 1 else "utf-8"
        if b"\0" in body:
            what = "holds NUL bytes, as binary files and UTF-16 do. Save the file as UTF-8."
            broken.add(path, what, line=number)
            return
        try:
            line = body.decode(encoding)
        except UnicodeDecodeError as error:
            got = f"byte 0x{body[error.start]:02x} at column {error.start + 1}"
            what = f"not UTF-8, got {got}. Save the file as UTF-8."
            broken.add(path, what, line=number, cause="not UTF-8")
            line = body.decode(encoding, "replace")
        yield number, line


def read_json_lines(path: Path, broken: BrokenInput) -> Iterator[Record]:
    """Yield the object of each line, or each object of one JSON array; empty lines are skipped."""
    lines = read_lines(path, broken)
    for number, line in lines:
        if not line.strip():
            continue
        if line.lstrip().startswith("[") and _is_cut_off(line):
            rest = "".join([line, *(more for _, more in lines)])
            yield from _read_json_array(path, rest, broken, first=number)
            return
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            got = excerpt(line.strip())
            what = f"not valid JSON ({_json_reason(error)}), got {got}. Write one object a line."
            broken.add(path, what, line=number, cause="not valid JSON")
            continue
        if isinstance(values, dict):
            yield Record(str(path), number, values)
        elif isinstance(values, list) and values and all(isinstance(x, dict) for x in values):
            yield from (Record(str(path), row, each) for row, each in enumerate(values, start=1))
        else:
            what = f"not a JSON object, got {excerpt(values)}. Fix or remove the line."
            broken.add(path, what, line=number, cause="not a JSON object")


def _is_cut_off(line: str) -> bool:
    """Tell whether JSON that begins on a line does not end on it."""
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return not line[error.pos :].strip()
    except (ValueError, RecursionError):
        return False
    return False


def _json_reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number is too long"


def _read_json_array(path: Path, text: str, broken: BrokenInput, *, first: int) -> Iterator[Record]:
    fix = "Write one object a line."
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = first + error.lineno - 1 if isinstance(error, json.JSONDecodeError) else first
        reason = _json_reason(error)
        broken.add(path, f"a JSON array that is not valid ({reason}). {fix}", line=line)
        return
    for row, value in enumerate(values, start=1):
        if isinstance(value, dict):
            yield Record(str(path), row, value)
        else:
            what = f"entry of a JSON array is not an object, got {excerpt(value)}. {fix}"
            broken.add(path, what, line=row, cause="entry is not an object")


def text_of(record: Record, key: str, broken: BrokenInput) -> str:
    """Return a text; "" after noting a problem when it is absent or no valid text."""
    if key not in record.values:
        broken.add(record.file, missing("key", key, record.values), line=record.line)
        return ""
    value = record.values[key]
    if _is_null(value):
        what = f"{key!r} is null. Write the text or remove the line."
        broken.add(record.file, what, line=record.line)
        return ""
    if not isinstance(value, str):
        fix = "Quote it." if record.is_written else "Store the column as text."
        what = f"{key!r} must be a text, got {excerpt(value)}. {fix}"
        broken.add(record.file, what, line=record.line, cause=f"{key} no text")
        return ""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON may escape half a surrogate pair; tokenizers would stop at it in mid-run.
        got = f"'\\u{ord(value[error.start]):04x}'"
        what = f"{key!r} is not valid Unicode, got {got}. Remove the character."
        broken.add(record.file, what, line=record.line, cause=f"{key} no Unicode")
        return ""
    return value


def identifier_of(record: Record, key: str, broken: BrokenInput) -> str:
    """Return an id; "" after noting a problem when there is none.

    Integers are their digits, also where pandas made floats of them because one is absent.
    """
    value = record.values.get(key)
    whole = whole_number(value)
    if whole:
        return whole
    if key in record.values and (_is_null(value) or value == ""):
        state = "empty" if value == "" else "null"
        broken.add(
            record.file, f"{key!r} is {state}. Fill it in or remove the row.", line=record.line
        )
        return ""
    if key in record.values and not isinstance(value, str):
        fix = "Quote it." if record.is_written else "Store the column as text."
        what = f"{key!r} must be a text or an integer, got {excerpt(value)}. {fix}"
        broken.add(record.file, what, line=record.line, cause=f"{key} no id")
        return ""
    return text_of(record, key, broken)


def whole_number(value: object) -> str:
    """Return the digits of an integer, also of one that pandas wrote as a float; else "".

    >>> whole_number(7), whole_number(7.0), whole_number(7.5), whole_number("7")
    ('7', '7', '', '')
    """
    if isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_EXACT:
        return str(int(value))
    return ""


def number_of(value: object) -> float | None:
    """Return a finite number, or the one that a text writes in ASCII digits; else None.

    >>> number_of("1e-3"), number_of("1_0"), number_of(True), number_of(float("nan"))
    (0.001, None, None, None)
    """
    written = value.strip(" \t\r\n") if isinstance(value, str) else None
    if isinstance(value, bool) or (written is not None and not _NUMBER.fullmatch(written)):
        return None
    try:
        number = float(value if written is None else written)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def grade_of(record: Record, key: str, broken: BrokenInput) -> int:
    """Return a grade: an integer, also where a table program wrote it as ``1.0``."""
    if key not in record.values:
        broken.add(record.file, missing("key", key, record.values), line=record.line)
        return 0
    value = record.values[key]
    if is_grade(value):
        return int(float(value))
    what = f"{key!r} must be an integer grade, got {excerpt(value)}. Relevant is 1 or more."
    broken.add(record.file, what, line=record.line, cause=f"{key} no grade")
    return 0


def is_grade(value: object) -> bool:
    """Tell whether a value is an integer, or writes one."""
    written = value.strip() if isinstance(value, str) else repr(value)
    return _INTEGER.fullmatch(written) is not None


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
