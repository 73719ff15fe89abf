"""Schema: what a suite file may say, as JSON Schema for editors and as a page of the documentation.

Both are derived from the tables themselves: their fields, types, bounds and docstrings.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from harness.suite.kinds import ASKED, KINDS, PREFIXED
from harness.suite.spec import Suite
from harness.suite.table import Spec

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# The tables that are listed first, in the order in which a suite is written.
_FIRST = ("CollectionSpec", "TrainingSpec")
_MOST = 5  # kinds of tables that are listed in a row
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "`true` or `false`",
    "object": "a table",
}


def suite_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of a suite file."""
    kinds = tuple(dict.fromkeys((*KINDS.values(), *PREFIXED.values(), *ASKED.values())))
    asked: Any = [(each, "validation") for each in (Suite, *kinds)]
    named, made = models_json_schema(asked)
    defs: dict[str, Schema] = made["$defs"]
    suite = defs.pop("Suite")
    del defs["CandidateSpec"]
    suite["properties"]["candidates"]["additionalProperties"] = {
        "anyOf": [named[each, "validation"] for each in kinds]
    }
    known = {each.__name__: each for each in _below(Spec)}
    for name, table in (("Suite", suite), *defs.items()):
        if name in known:
            _describe(table, known[name])
    return {"$schema": _DIALECT, "title": "A suite of embedding-harness", **suite, "$defs": defs}


def reference() -> str:
    """Return the reference of the suite file as Markdown."""
    whole = suite_schema()
    defs = whole["$defs"]
    candidates = whole["properties"]["candidates"]["additionalProperties"]["anyOf"]
    kinds = [each["$ref"].rpartition("/")[2] for each in candidates]
    rest = [name for name in defs if defs[name] and name not in {*kinds, *_FIRST}]
    made_by = (
        "Generated from the code by `make docs`. As JSON Schema, for editors: `harness schema`, or "
        "[suite.schema.json](suite.schema.json) of this version."
    )
    lines = [
        "# Every key of a suite file",
        made_by,
        "",
        "## At the top",
        *_table(whole),
    ]
    for title, names in (("", _FIRST), ("Candidates", kinds), ("Tables in other tables", rest)):
        lines += ["", f"## {title}"] if title else []
        for name in names:
            level = "###" if title else "##"
            heading = defs[name]["description"].rstrip(".")
            lines += ["", f'<a id="{name.lower()}"></a>', f"{level} {heading}"]
            lines += _table(defs[name])
    return "\n".join(lines) + "\n"


def _below(kind: type[Spec]) -> Iterator[type[Spec]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def _describe(table: Schema, kind: type[Spec]) -> None:
    """Put the sentence of each field to it, and take out what TOML has no word for."""
    said: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        said |= _attributes(each.__doc__ or "")
    doc = " ".join((kind.__doc__ or "").partition("Attributes:")[0].split())
    table["description"] = _if_absent(doc.replace("``", "`"))
    table.pop("title", None)
    for key, field in table.get("properties", {}).items():
        field.pop("title", None)
        name = next((n for n, f in kind.model_fields.items() if key in {n, f.alias}), key)
        if name in said:
            field["description"] = _if_absent(said[name])
        options = [each for each in field.get("anyOf", ()) if each != {"type": "null"}]
        if options:
            field["anyOf"] = options
        if len(options) == 1:
            field.update(field.pop("anyOf")[0])
        if field.get("default", 0) is None:
            del field["default"]


def _attributes(doc: str) -> dict[str, str]:
    r"""Return the sentence of each attribute of a docstring.

    >>> _attributes("A.\n\n    Attributes:\n        a, b: of a\n            model.\n    ")
    {'a': 'of a model.', 'b': 'of a model.'}
    """
    found: dict[str, str] = {}
    listed = re.split(r"\n {4}(?=\S)", doc.partition("Attributes:")[2])[0]
    for entry in re.split(r"\n {8}(?=\S)", listed):
        names, _, text = entry.partition(":")
        words = " ".join(text.split()).replace("``", "`")
        found |= {name.strip(): words for name in names.split(",") if words}
    return found


def _if_absent(text: str) -> str:
    """Return a sentence of a docstring in the words of a file, which has no None.

    >>> _if_absent("tokens; None takes the model's own."), _if_absent("None takes each.")
    ("tokens; if absent, the model's own.", 'If absent, each.')
    """
    text = re.sub(r",? or None\b", "", text).replace("if None", "if absent")
    text = re.sub(r"\bNone (?:takes|for)\b", "if absent,", text)
    text = re.sub(r"\bNone (?=\w+s\b)", "if absent, it ", text)
    return re.sub(r"(^|\. )if absent", r"\1If absent", text)


def _table(table: Schema) -> list[str]:
    """Return the rows of a table's keys."""
    needed = set(table.get("required", ()))
    lines = ["", "| key | value | default | |", "| --- | --- | --- | --- |"]
    for key, field in table.get("properties", {}).items():
        default = "needed" if key in needed else _value(field.get("default"))
        row = (f"`{key}`", _type(field), default, field.get("description", ""))
        lines.append("| " + " | ".join(each.replace("|", "\\|") for each in row) + " |")
    return lines


def _type(field: Mapping[str, Any]) -> str:
    """Return what a key takes, in a few words."""
    match field:
        case {"$ref": str(ref)}:
            name = ref.rpartition("/")[2]
            found = "any" if name == "JsonValue" else f"[a table](#{name.lower()})"
        case {"const": value}:
            found = _value(value)
        case {"enum": values}:
            found = ", ".join(map(_value, values))
        case {"anyOf": kinds} | {"oneOf": kinds}:
            found = " or ".join(dict.fromkeys(map(_type, kinds)))
        case {"type": "array", "items": items}:
            found = f"a list: {_type(items)}"
        case {"type": "object", "additionalProperties": dict(below)}:
            is_long = len(below.get("anyOf", ())) > _MOST
            found = "named tables" if is_long else f"named: {_type(below)}"
        case {"type": str(kind)}:
            found = _WORDS.get(kind, "a number") + _bounds(field)
        case _:
            found = "any"
    return found


def _bounds(field: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {field[key]:.10g}" for key, sign in signs.items() if key in field]
    return f" {', '.join(found)}" if found else ""


def _value(value: Any) -> str:
    if value in (None, [], {}, "") or isinstance(value, dict):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
