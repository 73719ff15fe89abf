"""Reading a suite file: every problem is told at once, with its line and the fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import ExitCode, HarnessError, did_you_mean
from harness.spec import Spec
from harness.suite import Bm25, Suite
from harness.suite_references import gate_problems, reference_problems, slice_problems
from harness.suite_shapes import OWNERS, Problem, kind_of, shape_problems
from harness.toml_lines import key_lines, line_of


def load_suite(path: Path) -> Suite:
    """Read and check a suite file.

    Raises:
        HarnessError: exit code 2, with every problem of the file.
    """
    text = _read(path)
    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _usage(_syntax_problem(path, text, str(error))) from None
    lines = key_lines(text)
    found = [(line_of(lines, keys), keys, message) for keys, message in _problems(said)]
    if found:
        problems = [
            f"{path}:{line}: {_owner(keys)}{message}"
            for line, keys, message in sorted(dict.fromkeys(found), key=lambda item: item[0])
        ]
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    suite = Suite.model_validate({**said, "candidates": _typed_candidates(said)})
    suite._path, suite._lines, suite._said = path, lines, said
    return suite


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise _usage(f"{path}: no such suite file.{_neighbours(path)}") from None
    except IsADirectoryError:
        known = did_you_mean("", map(str, path.glob("*.toml")))
        raise _usage(f"{path}: a suite file is needed, got a folder.{known}") from None
    except UnicodeDecodeError as error:
        raise _usage(f"{path}: not UTF-8 text, got {error}. Save it as UTF-8.") from None
    except OSError as error:
        what = error.strerror or error
        raise _usage(f"{path}: can not read it, got '{what}'. Check its permissions.") from None


def _syntax_problem(path: Path, text: str, error: str) -> str:
    """Put the line that tomllib tells at the end of its message to the front."""
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", error)
    if place is None:
        return f"{path}: not valid TOML, {error}."
    line = place[1] or len(text.rstrip().split("\n"))
    return f"{path}:{line}: not valid TOML, {error[: place.start()]}."


def _owner(keys: tuple[str, ...]) -> str:
    """Return the candidate or collection that a path of keys lies in, to begin a message with."""
    kind = OWNERS.get(keys[0] if keys else "")
    return f"{kind} '{keys[1]}': " if kind and len(keys) > 1 else ""


def _typed_candidates(said: Mapping[str, Any]) -> dict[str, Spec]:
    return {
        name: kind_of(name, table).kind.model_validate(table)  # type: ignore[union-attr]
        for name, table in said["candidates"].items()
    }


def _problems(said: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield every problem as (path of keys, message): shapes first, then how names refer."""
    tables = said.get("candidates")
    shell = dict(said)
    if isinstance(tables, dict) and tables:
        # Candidates are checked one by one against the kind that they name.
        shell["candidates"] = {"placeholder": Bm25(kind="bm25")}
    for key in ("gates", "slices"):
        if isinstance(said.get(key), dict):
            del shell[key]  # checked one by one, below
    yield from shape_problems(Suite, shell, ())
    yield from slice_problems(said)
    yield from gate_problems(said)
    if not isinstance(tables, dict) or not tables:
        return
    typed: dict[str, Any] = {}
    for name, table in tables.items():
        kind, problem = kind_of(name, table)
        if kind is None:
            yield problem
            continue
        found = list(shape_problems(kind, table, ("candidates", name)))
        yield from found
        if not found:
            typed[name] = kind.model_validate(table)
    yield from reference_problems(said, typed)


def _neighbours(path: Path) -> str:
    known = (
        sorted(str(found) for found in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    )
    return did_you_mean(str(path), known) if known else ""


def _usage(message: str) -> HarnessError:
    return HarnessError(message, exit_code=ExitCode.USAGE)
