"""References: what the tables of a suite file say of each other, and where they are wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from harness.errors import HarnessError, did_you_mean, no_such
from harness.runs.metrics import parse_metric
from harness.suite.kinds.kind import CandidateSpec, Neighbours, uncompressed
from harness.suite.shapes import OWNERS, Problem, shape_problems, shown
from harness.suite.spec import (
    RULES,
    CollectionSpec,
    GateSpec,
    MustPass,
    SampledGate,
    SliceSpec,
)
from harness.suite.table import Spec
from harness.suite.training import (
    TrainingSpec,
    generate_problems,
    name_problems,
)

_DEEPEST = 200  # candidates, each derived from the one before; more is a mistake of a script


def reference_problems(
    said: Mapping[str, Any], typed: Mapping[str, CandidateSpec]
) -> Iterator[Problem]:
    """Yield what is wrong between candidates, and between them and the rest of a file.

    Args:
        said: the file.
        typed: those candidates whose own table is right.
    """
    tables = _tables(said, "candidates")
    yield from _role_problems(said)
    yield from _metric_problems(said)
    yield from _named_problems(said, set(tables), typed)
    yield from _diagnosis_problems(said)
    yield from _cycle_problems(typed)
    yield from _generate_problems(said, typed)


def name_of_table_problems(said: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the names of tables that files and messages cannot carry."""
    for key in OWNERS:
        for name in _tables(said, key):
            if not name.strip(". ") or name != name.strip() or not name.isprintable():
                yield (key, name), f"its name must be visible text, got {name!r}. Rename it."


def _role_problems(said: Mapping[str, Any]) -> Iterator[Problem]:
    tables = _tables(said, "collections")
    roles = [table.get("role") if isinstance(table, dict) else None for table in tables.values()]
    if roles and all(role == "general" for role in roles):
        message = 'every collection has role = "general": none is left to decide on. Remove one.'
        yield ("collections", next(iter(tables)), "role"), message


def _metric_problems(said: Mapping[str, Any]) -> Iterator[Problem]:
    metrics = said.get("metrics", [])
    for text in metrics if isinstance(metrics, list) else []:
        try:
            parse_metric(text) if isinstance(text, str) else None
        except HarnessError as error:
            yield ("metrics",), str(error)


def _named_problems(
    said: Mapping[str, Any], names: set[str], typed: Mapping[str, CandidateSpec]
) -> Iterator[Problem]:
    baseline = said.get("baseline")
    if isinstance(baseline, str) and baseline not in names:
        yield ("baseline",), no_such("candidate", baseline, names)
    suite = Neighbours(
        names=frozenset(names),
        typed=typed,
        collections={
            name: (table.get("source") if isinstance(table, dict) else None, _scored_split(table))
            for name, table in _tables(said, "collections").items()
        },
        training=_tables(said, "training"),
    )
    for name, spec in typed.items():
        for keys, message in spec.problems(suite):
            yield ("candidates", name, *keys), message


def _generate_problems(
    said: Mapping[str, Any], typed: Mapping[str, CandidateSpec]
) -> Iterator[Problem]:
    finders = {name: _is_finder(name, typed) for name in _tables(said, "candidates")}
    for name, table in _tables(said, "training").items():
        try:
            spec = TrainingSpec.model_validate(table)
        except ValidationError:
            continue  # told with the shapes
        for keys, message in generate_problems(
            spec, collections=_tables(said, "collections"), finders=finders
        ):
            yield ("training", name, *keys), message


def _is_finder(name: str, typed: Mapping[str, CandidateSpec]) -> bool:
    """Tell whether a candidate can search for new queries before anything is trained."""
    spec = typed.get(uncompressed(typed, name))
    return spec is None or (spec.can_search and not spec.parents)


def _scored_split(table: Any) -> Any:
    default = CollectionSpec.model_fields["split"].default
    return table.get("split", default) if isinstance(table, dict) else None


def _cycle_problems(typed: Mapping[str, CandidateSpec]) -> Iterator[Problem]:
    told: set[str] = set()
    depths = _depths(typed)
    deep = next((name for name, depth in depths.items() if depth > _DEEPEST), None)
    if deep is not None:
        yield (
            ("candidates", deep),
            f"ends a chain of more than {_DEEPEST} candidates. Derive it from an earlier one.",
        )
    for name in (name for name in typed if name not in depths):
        circle = _circle(name, typed)
        if circle and told.isdisjoint(circle):
            told.update(circle)
            way = " from ".join(f"'{each}'" for each in (*circle[1:], name))
            yield ("candidates", name), f"derived from itself: from {way}. Break the circle."


def _depths(typed: Mapping[str, CandidateSpec]) -> dict[str, int]:
    """Return the length of the chain that ends at each candidate; none for those in a circle."""
    waiting = {name: {each for each in typed[name].needs if each in typed} for name in typed}
    needed_by: dict[str, list[str]] = {}
    for name, others in waiting.items():
        for other in others:
            needed_by.setdefault(other, []).append(name)
    depths = {name: 1 for name, others in waiting.items() if not others}
    ready = list(depths)
    for name in ready:
        for other in needed_by.get(name, ()):
            waiting[other].discard(name)
            if not waiting[other]:
                depths[other] = depths[name] + 1  # the last one to be ready is the deepest
                ready.append(other)
    return depths


def _circle(name: str, typed: Mapping[str, CandidateSpec]) -> list[str]:
    """Return the shortest way from a candidate through what it needs back to itself, or none."""
    ways = [[name]]
    seen: set[str] = set()
    for way in ways:
        for other in typed[way[-1]].needs if way[-1] in typed else ():
            if other == name:
                return way
            if other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []


def _diagnosis_problems(said: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the candidates and collections that ``[diagnosis]`` names and the suite does not."""
    table = _tables(said, "diagnosis")
    for key in ("candidates", "references"):
        names = table.get(key)
        for name in names if isinstance(names, list) else []:
            yield from _known(said, "candidates", str(name), ("diagnosis", key))
    collections = _tables(said, "collections")
    scored = {name: _scored_split(each) for name, each in collections.items()}
    for name, data in _tables(table, "training").items():
        at = ("diagnosis", "training")
        yield from _known(said, "candidates", name, at)
        names = [data] if isinstance(data, str) else data
        if isinstance(names, list) and all(isinstance(each, str) for each in names):
            found = name_problems(
                f"of '{name}'", names, collections=scored, training=_tables(said, "training")
            )
            yield from ((at, message) for message in found)


def slice_problems(said: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the slices of a file."""
    for name, table in _tables(said, "slices").items():
        at = ("slices", name)
        found = list(shape_problems(SliceSpec, table, at))
        yield from found
        if found:
            continue
        spec = SliceSpec.model_validate(table)
        yield from _one_of(spec, ("queries", "file", "matching"), at)
        yield from _known(said, "collections", spec.collection, (*at, "collection"))
        try:
            re.compile(spec.matching or "")
        except (re.error, RecursionError, OverflowError) as error:
            got = shown(spec.matching)
            message = f"'matching' is no regular expression, got {got}: {error}. Correct it."
            yield (*at, "matching"), message


def gate_problems(said: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the gates of a file."""
    for name, table in _tables(said, "gates").items():
        at = ("gates", name)
        rule = table.get("rule") if isinstance(table, dict) else None
        if not isinstance(table, dict):
            yield at, f"a gate is a table, got {shown(table)}. Write {{ … }}."
        elif rule is None:
            rules = ", ".join(f"'{each}'" for each in RULES)
            yield at, f"'rule' is missing. Add one of {rules}."
        elif not isinstance(rule, str) or rule not in RULES:
            yield (*at, "rule"), f"no rule {rule!r}.{did_you_mean(str(rule), RULES)}"
        else:
            found = list(shape_problems(RULES[rule], table, at))
            yield from found
            if not found:
                yield from _check_gate(RULES[rule].model_validate(table), said, at)


def _check_gate(spec: GateSpec, said: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[Problem]:
    """Yield what is wrong between this gate and the rest of the file."""
    yield from _known(said, "candidates", spec.candidate, (*at, "candidate"))
    yield from _known(said, "collections", spec.collection, (*at, "collection"))
    if isinstance(spec, MustPass):
        yield from _one_of(spec, ("queries", "file"), at)
        if spec.collection is None and len(_tables(said, "collections")) > 1:
            yield at, "several collections, and nothing says whose queries. Add 'collection'."
    if not isinstance(spec, SampledGate):
        return
    yield from _known(said, "slices", spec.slice, (*at, "slice"))
    table = _tables(said, "slices").get(spec.slice or "")
    owner = table.get("collection") if isinstance(table, dict) else None
    if owner is not None and spec.collection not in (None, owner):
        message = f"slice '{spec.slice}' is of '{owner}', got '{spec.collection}'. Remove one."
        yield (*at, "collection"), message
    yield from _check_gated_metric(spec, said, at)


def _check_gated_metric(
    spec: SampledGate, said: Mapping[str, Any], at: tuple[str, ...]
) -> Iterator[Problem]:
    if spec.metric is None:
        return
    try:
        asked = str(parse_metric(spec.metric))
        known = [str(parse_metric(text)) for text in said.get("metrics", [])]
    except (HarnessError, TypeError, AttributeError) as error:
        if isinstance(error, HarnessError) and f"'{spec.metric}'" in str(error):
            yield (*at, "metric"), str(error)
        return  # what is wrong with the suite's metrics is told there
    if asked not in known:
        hint = did_you_mean(asked, known)
        yield (*at, "metric"), f"the suite has no metric '{asked}'.{hint} Or add it to 'metrics'."


def _known(
    said: Mapping[str, Any], key: str, name: str | None, at: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield a problem if a name is given that no table below `key` has."""
    names = _tables(said, key)
    if name is not None and name not in names:
        yield at, no_such(OWNERS[key], name, names)


def _one_of(spec: Spec, keys: tuple[str, ...], at: tuple[str, ...]) -> Iterator[Problem]:
    given = [key for key in keys if getattr(spec, key) is not None]
    if len(given) != 1:
        choice = ", ".join(f"'{key}'" for key in keys)
        got = " and ".join(f"'{key}'" for key in given) or "none"
        yield at, f"give one of {choice}, got {got}."


def _tables(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = said.get(key)
    return found if isinstance(found, dict) else {}
