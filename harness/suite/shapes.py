"""Shapes: what each table of a suite file may hold, and the sentence for what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError

from harness.errors import did_you_mean
from harness.suite.gates import RULES
from harness.suite.kinds import ASKED, KINDS, kind_named
from harness.suite.table import Spec

# What pydantic's kinds of errors ask for, in the words of a TOML file.
_WANTED = {
    "literal_error": "{expected}",
    "too_short": "of {min_length} or more entries",
    "greater_than_equal": "at least {ge}",
    "greater_than": "greater than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
}
_PATTERNS = {
    "name": "letters, digits, '.', '_' and '-', a letter or digit first",
}

# What the tables below these are called.
OWNERS = {
    "candidates": "candidate",
    "collections": "collection",
    "gates": "gate",
    "slices": "slice",
    "training": "training data",
}
# Tables of named tables that are checked with the suite itself; the owner begins the message.
_NAMED = ("collections", "training")

# Path of keys, and what is wrong there.
_LONGEST = 100  # characters of a value in a message

SuiteProblem = tuple[tuple[str, ...], str]


class KindFound(NamedTuple):
    """The kind that a table names, or None and the problem."""

    kind: type[Spec] | None
    problem: SuiteProblem = ((), "")


def kind_of(name: str, table: Any) -> KindFound:
    """Return the kind of candidate that a table is, by the one key that only this kind has."""
    at = ("candidates", name)
    if not isinstance(table, dict):
        return KindFound(
            None, (at, f"a candidate is a table, got {repr_excerpt(table)}. Write {{ … }}.")
        )
    named = [key for key in KINDS if key in table]
    if len(named) == 1:
        return KindFound(kind_named(named[0], table[named[0]]))
    if named == ["model", "query_model"]:
        return KindFound(ASKED[kind_named("model", table["model"])])
    if named:
        both = " and ".join(f"'{key}'" for key in named)
        message = (
            f"a candidate has one kind, got {both}. Keep one; "
            'make a second change another candidate with from = "…".'
        )
        return KindFound(None, (at, message))
    kinds = ", ".join(f"'{key}'" for key in KINDS)
    known = {field for kind in KINDS.values() for field in _fields_at(kind, ())}
    unknown = next((key for key in table if key not in known), None)
    if unknown is not None:
        message = f"unknown key '{unknown}', and no key that sets the kind."
        return KindFound(None, ((*at, unknown), message + did_you_mean(unknown, KINDS)))
    got = " and ".join(f"'{key}'" for key in table) or "no key"
    return KindFound(None, (at, f"no key sets the kind, got {got}. Add one of {kinds}."))


def rule_of(name: str, table: Any) -> KindFound:
    """Return the kind of gate that a table is, by its rule."""
    at = ("gates", name)
    if not isinstance(table, dict):
        return KindFound(
            None, (at, f"a gate is a table, got {repr_excerpt(table)}. Write {{ … }}.")
        )
    rule = table.get("rule")
    if rule is None:
        rules = ", ".join(f"'{each}'" for each in RULES)
        return KindFound(None, (at, f"'rule' is missing. Add one of {rules}."))
    if not isinstance(rule, str) or rule not in RULES:
        return KindFound(
            None, ((*at, "rule"), f"no rule {rule!r}.{did_you_mean(str(rule), RULES)}")
        )
    return KindFound(RULES[rule])


def shape_problems(kind: type[Spec], table: Any, at: tuple[str, ...]) -> Iterator[SuiteProblem]:
    """Yield what a table holds that its kind does not allow, at a path of keys."""
    try:
        kind.model_validate(table)
    except ValidationError as error:
        for item in error.errors():
            keys = tuple(str(part) for part in item["loc"] if not str(part).startswith("["))
            yield at + keys, _sentence(kind, item, keys)


def _sentence(kind: type[Spec], item: Any, keys: tuple[str, ...]) -> str:
    name = keys[-1] if keys else ""
    match item["type"]:
        case "extra_forbidden" if name == "from":
            return "'from' is for a candidate that changes another one, not for a root. Remove it."
        case "extra_forbidden" if name in (told := getattr(_at(kind, keys[:-1]), "refused", {})):
            return str(told[name])
        case "extra_forbidden":
            known = _fields_at(kind, keys[:-1])
            below = 3 if keys[0] in _NAMED else 1
            inside = f" in '{keys[-2]}'" if len(keys) > below else ""
            return f"unknown key '{name}'{inside}.{did_you_mean(name, known)}"
        case "missing":
            return f"'{name}' is missing. Add it."
        case _:
            path = keys[2:] if len(keys) > 2 and keys[0] in _NAMED else keys
            what = f"'{'.'.join(path)}' must be" if path else "it must be"
            wanted = str(item["msg"])
            if item["type"] == "string_pattern_mismatch":
                wanted = _PATTERNS[name]
            elif item["type"] in _WANTED:
                wanted = _WANTED[item["type"]].format(**item.get("ctx", {}))
            return f"{what} {wanted}, got {repr_excerpt(item['input'])}."


def repr_excerpt(value: Any) -> str:
    """Return a value as Python writes it, cut at 100 characters.

    >>> repr_excerpt("x" * 200)[-9:], repr_excerpt(["a", 1])
    ('xxxxxxxx…', "['a', 1]")
    """
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _fields_at(kind: type[Spec], keys: tuple[str, ...]) -> list[str]:
    """Return the known keys of the table at a path below `kind`."""
    return [field.alias or name for name, field in _at(kind, keys).model_fields.items()]


def _at(kind: type[Spec], keys: tuple[str, ...]) -> Any:
    """Return the kind of the table at a path below `kind`."""
    node: Any = kind
    for key in keys:
        field = node.model_fields.get(key) if _is_spec(node) else None
        if field is None:
            continue  # the name of a collection or a candidate, below its mapping
        node = next(_specs_in(field.annotation), node)
    return node


def _specs_in(annotation: Any) -> Iterator[Any]:
    if _is_spec(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _specs_in(argument)


def _is_spec(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Spec)
