"""Reading a suite, from a file or from plain values: every problem at once, with the fix."""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.collection.frames import GIVEN, TEXTS, read_values
from harness.errors import ExitCode, HarnessError, did_you_mean, usage_error
from harness.suite.references import suite_problems
from harness.suite.shapes import OWNERS, kind_of, repr_excerpt
from harness.suite.spec import Suite
from harness.suite.toml_lines import key_lines, line_of

_SHOWN_PATH = 200
_ESCAPE = re.compile("hex value|escape|Unescaped", re.IGNORECASE)


def load_suite(path: Path) -> Suite:
    """Read and check a suite file.

    Raises:
        HarnessError: exit code 2, with every problem of the file.
    """
    text = _read(path)
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise usage_error(_syntax_problem(path, text, str(error))) from None
    except RecursionError:
        raise _too_deep(path) from None
    except ValueError:
        raise usage_error(f"{path}: not valid TOML, a number is too long. Shorten it.") from None
    lines = key_lines(text)
    try:
        found = [(line_of(lines, keys), keys, message) for keys, message in suite_problems(said)]
    except RecursionError:  # dotted keys are parsed to any depth
        raise _too_deep(path) from None
    if found:
        problems = [
            f"{path}:{line}: {_owner(keys)}{message}"
            for line, keys, message in sorted(dict.fromkeys(found), key=lambda item: item[0])
        ]
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    suite = _checked(said)
    suite._path, suite._lines = path, lines
    return suite


def make_suite(tables: Mapping[str, Any]) -> Suite:
    """Check a suite that is given as plain values, in the words of a suite file.

    A collection may hold its texts instead of a `source`, as `read_values` takes them. Paths are
    relative to the working folder.

    Raises:
        HarnessError: exit code 2, with every problem of the tables; else 3, with every problem of
            the texts.
    """
    where = f"suite {repr_excerpt(tables.get('name', ''))}"
    said, texts = _without_texts(tables)
    try:
        found = dict.fromkeys(suite_problems(said))
    except RecursionError:
        raise usage_error(f"{where}: nested too deeply. Remove levels.") from None
    if found:
        problems = [f"{where}: {_owner(keys)}{message}" for keys, message in found]
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    suite = _checked(said)
    problems = []
    for name, values in texts.items():
        spec = suite.collections[name]
        try:
            suite._given[name] = read_values(
                values,
                name=name,
                split=spec.split,
                clusters=spec.clusters,
                columns=spec.columns.said,
            )
        except HarnessError as error:
            problems += [f"{where}: {text}" for text in error.problems]
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.DATA)
    return suite


def _without_texts(tables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the tables as a file could say them, and the texts of collections, by name."""
    said = {key: _as_toml(value) for key, value in tables.items() if value is not None}
    texts: dict[str, dict[str, Any]] = {}
    collections = said.get("collections")
    if not isinstance(collections, dict):
        return said, texts
    plain: dict[str, Any] = {}
    for name, table in collections.items():
        plain[name] = table
        if isinstance(table, dict) and "source" not in table and not TEXTS.isdisjoint(table):
            given = tables["collections"][name]
            texts[name] = {key: value for key, value in given.items() if key in TEXTS}
            rest = {key: value for key, value in table.items() if key not in TEXTS}
            plain[name] = {"source": f"{GIVEN}:{name}", **rest}
    return {**said, "collections": plain}, texts


def _as_toml(value: Any) -> Any:
    """Return tables, lists and paths of Python as a suite file says them."""
    if isinstance(value, Mapping):
        return {key: _as_toml(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_toml(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _checked(said: dict[str, Any]) -> Suite:
    candidates = {
        name: kind_of(name, table).kind.model_validate(table)  # type: ignore[union-attr]
        for name, table in said["candidates"].items()
    }
    suite = Suite.model_validate({**said, "candidates": candidates})
    suite._said = said
    return suite


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise usage_error(f"{path}: a suite file is needed, got a device or pipe. Name a file.")
        body = path.read_bytes()
    except FileNotFoundError:
        here = sorted(map(str, path.parent.glob("*.toml"))) if path.parent.is_dir() else []
        hint = did_you_mean(str(path), here) if here else ""
        raise usage_error(f"{path}: no such suite file.{hint}") from None
    except IsADirectoryError:
        known = did_you_mean("", map(str, path.glob("*.toml")))
        raise usage_error(f"{path}: a suite file is needed, got a folder.{known}") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        shown = str(path)[:_SHOWN_PATH]
        raise usage_error(f"{shown}: cannot be read, got '{what}'. Check the path.") from None
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise usage_error(f"{path}: not UTF-8 text, got UTF-16. Save it as UTF-8.")
    try:
        text = body.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise usage_error(f"{path}: not UTF-8 text, got {error}. Save it as UTF-8.") from None
    if "\r" in text:
        line = text[: text.index("\r")].count("\n") + 1
        what = "a line ends with a carriage return alone. Save it with LF or CRLF."
        raise usage_error(f"{path}:{line}: not valid TOML, {what}")
    return text


def _syntax_problem(path: Path, text: str, error: str) -> str:
    """Put the line that tomllib names at the end of its message to the front, and say the fix."""
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", error)
    if place is None:
        return f"{path}: not valid TOML, {error}. Correct it."
    lines = text.rstrip().split("\n")
    line = int(place[1] or len(lines))
    reason = f"{error[: place.start()]}."
    if re.search(r'"[^"]*\\', lines[min(line, len(lines)) - 1]) and _ESCAPE.search(error):
        reason = (
            "a backslash in double quotes begins an escape such as \\n. "
            "Write / instead, or put the path in single quotes."
        )
    return f"{path}:{line}: not valid TOML, {reason}"


def _owner(keys: tuple[str, ...]) -> str:
    """Return the candidate or collection that a path of keys lies in, to begin a message with."""
    kind = OWNERS.get(keys[0] if keys else "")
    return f"{kind} '{keys[1]}': " if kind and len(keys) > 1 else ""


def _too_deep(path: Path) -> HarnessError:
    return usage_error(f"{path}: not valid TOML, nested too deeply. Remove levels.")
