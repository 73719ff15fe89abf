"""Read lines and fields of the user's files, and collect everything that is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import ExitCode, HarnessError, did_you_mean

_SHOWN_PROBLEMS = 20
_SHOWN_CHARACTERS = 40
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}(\.0*)?")


class BrokenInput:
    """What is wrong with the files of one source, told all at once by `raise_if_any`."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._hidden = 0

    def add(self, where: object, what: str) -> None:
        """Note one problem; `what` is a sentence about it, followed by the fix."""
        if len(self._shown) < _SHOWN_PROBLEMS:
            self._shown.append(f"{where}: {what}")
        else:
            self._hidden += 1

    def raise_if_any(self) -> None:
        """Raise one `HarnessError` with all problems, the first 20 in full."""
        if self._shown:
            more = [f"and {self._hidden} more."] if self._hidden else []
            raise HarnessError(self._shown + more, exit_code=ExitCode.DATA)


class Record(NamedTuple):
    """One line of a file, as named values."""

    file: str
    line: int
    values: Mapping[str, Any]

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


def excerpt(value: object) -> str:
    """Return how a message quotes a value: cut after 40 characters."""
    shown = value if isinstance(value, str) else json.dumps(value, default=repr)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}..."
    return repr(shown) if isinstance(value, str) else shown


def missing(kind: str, name: str, found: Iterable[str]) -> str:
    """Return the sentence for a key or column that is not there."""
    names = list(found)
    got = ", ".join(repr(key) for key in names) or "none"
    hint = did_you_mean(name, names)
    fix = hint if "Did you mean" in hint else f" Add the {kind}."
    return f"no {kind} {name!r}, got {got}.{fix}"


def read_lines(path: Path, broken: BrokenInput) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each line; a byte order mark is dropped.

    A line that is not UTF-8 is a problem, and yielded with replacement characters so that the rest
    of the file is still read.
    """
    try:
        handle = path.open("rb")
    except OSError as error:
        broken.add(path, f"cannot be read ({error.strerror}). Check the path.")
        return
    with handle:
        for number, body in enumerate(handle, start=1):
            encoding = "utf-8-sig" if number == 1 else "utf-8"
            try:
                line = body.decode(encoding)
            except UnicodeDecodeError as error:
                got = f"byte 0x{body[error.start]:02x} at column {error.start + 1}"
                broken.add(f"{path}:{number}", f"not UTF-8, got {got}. Save the file as UTF-8.")
                line = body.decode(encoding, "replace")
            yield number, line


def read_json_lines(path: Path, broken: BrokenInput) -> Iterator[Record]:
    """Yield the object of each line; empty lines are skipped."""
    file = str(path)
    for number, line in read_lines(path, broken):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error)
            if isinstance(error, json.JSONDecodeError):
                reason = f"{error.msg} at column {error.colno}"
            what = f"not valid JSON ({reason}), got {excerpt(line.strip())}."
            broken.add(f"{file}:{number}", f"{what} Fix or remove the line.")
            continue
        if isinstance(values, dict):
            yield Record(file, number, values)
        else:
            what = f"not a JSON object, got {excerpt(values)}. Fix or remove the line."
            broken.add(f"{file}:{number}", what)


def text_of(record: Record, key: str, broken: BrokenInput) -> str:
    """Return a text; "" after noting a problem when it is absent or no valid text."""
    if key not in record.values:
        broken.add(record.place, missing("key", key, record.values))
        return ""
    value = record.values[key]
    if not isinstance(value, str):
        broken.add(record.place, f"{key!r} must be a text, got {excerpt(value)}. Quote it.")
        return ""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON may escape half a surrogate pair; tokenizers would stop at it in mid-run.
        got = f"'\\u{ord(value[error.start]):04x}'"
        broken.add(record.place, f"{key!r} is not valid Unicode, got {got}. Remove the character.")
        return ""
    return value


def identifier_of(record: Record, key: str, broken: BrokenInput) -> str:
    """Return an id, integers as their digits; "" after noting a problem when there is none."""
    value = record.values.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value == "":
        broken.add(record.place, f"{key!r} is empty. Give it an id.")
        return ""
    if key in record.values and not isinstance(value, str):
        what = f"{key!r} must be a text or an integer, got {excerpt(value)}. Quote it."
        broken.add(record.place, what)
        return ""
    return text_of(record, key, broken)


def grade_of(record: Record, key: str, broken: BrokenInput) -> int:
    """Return a grade: an integer, also where a table program wrote it as ``1.0``."""
    if key not in record.values:
        broken.add(record.place, missing("key", key, record.values))
        return 0
    value = record.values[key]
    written = value.strip() if isinstance(value, str) else repr(value)
    if _INTEGER.fullmatch(written):
        return int(float(written))
    what = f"{key!r} must be an integer grade, got {excerpt(value)}. Relevant is 1 or more."
    broken.add(record.place, what)
    return 0
