"""References: what the tables of a suite file say of each other, and where they are wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from harness.collection.frames import GIVEN
from harness.errors import HarnessError, did_you_mean, no_such
from harness.runs.metrics import parse_metric
from harness.suite.gates import AtMost, GateSpec, MustPass, NoWorse, SampledGate, SliceSpec
from harness.suite.kinds.bm25 import Bm25
from harness.suite.kinds.kind import CandidateSpec, RestOfSuite, uncompressed
from harness.suite.shapes import (
    OWNERS,
    KindFound,
    SuiteProblem,
    kind_of,
    repr_excerpt,
    rule_of,
    shape_problems,
)
from harness.suite.spec import CollectionSpec, JudgingSpec, Suite
from harness.suite.table import Spec
from harness.suite.training import (
    LanguageModelSpec,
    TrainingSpec,
    generate_problems,
    name_problems,
    server_problems,
)

_DEEPEST = 200  # candidates, each derived from the one before; more is a mistake of a script


def suite_problems(said: Mapping[str, Any]) -> Iterator[SuiteProblem]:
    """Yield every problem as (path of keys, message): of shapes, then of how tables refer.

    What refers is checked for every table whose own shape is right.
    """
    shell = {key: value for key, value in said.items() if key not in {"gates", "slices"}}
    if _tables(said, "candidates"):
        shell["candidates"] = {"placeholder": Bm25(kind="bm25")}
    for key in ("gates", "slices"):
        if key in said and not isinstance(said[key], dict):
            shell[key] = said[key]
    found = [*shape_problems(Suite, shell, ()), *_huge_integers(said, ())]
    for key in OWNERS:
        for name in _tables(said, key):
            if not name.strip(". ") or name != name.strip() or not name.isprintable():
                problem = f"its name must be visible text, got {name!r}. Rename it."
                found.append(((key, name), problem))
    # Candidates, gates and slices are checked one by one, each against the kind that it names.
    candidates = _right(said, "candidates", kind_of, found)
    gates = _right(said, "gates", rule_of, found)
    slices = _right(said, "slices", lambda *_: KindFound(SliceSpec), found)
    training = _right(said, "training", lambda *_: KindFound(TrainingSpec), [])
    collections = _right(said, "collections", lambda *_: KindFound(CollectionSpec), [])
    yield from found
    for name, collection in collections.items():
        yield from _collection_problems(collection, said, ("collections", name))
    yield from _slice_problems(said, slices)
    for name, gate in gates.items():
        yield from _gate_problems(gate, said, ("gates", name))
    yield from _sequential_problems(gates, said)
    if _tables(said, "candidates"):
        yield from _question_problems(said)
        yield from _candidate_problems(said, candidates)
        yield from _diagnosis_problems(said)
        yield from _judging_problems(said, candidates)
        yield from _cycle_problems(candidates)
        yield from _generate_problems(said, training, candidates)


def _right(
    said: Mapping[str, Any],
    key: str,
    kind: Callable[[str, Any], KindFound],
    found: list[SuiteProblem],
) -> dict[str, Any]:
    """Return the tables below a key whose shape is right; note what is wrong with the others."""
    right: dict[str, Any] = {}
    for name, table in _tables(said, key).items():
        spec, problem = kind(name, table)
        wrong = [problem] if spec is None else list(shape_problems(spec, table, (key, name)))
        found += wrong
        if spec is not None and not wrong:
            right[name] = spec.model_validate(table)
    return right


def _huge_integers(value: Any, at: tuple[str, ...]) -> Iterator[SuiteProblem]:
    """Yield the integers that no 64 bits hold: everything that computes with them would stop."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _huge_integers(each, (*at, str(key)))
    elif isinstance(value, list):
        for each in value:
            yield from _huge_integers(each, at)
    elif isinstance(value, int) and abs(value) >= 2**63:
        name = at[-1] if at else ""
        yield at, f"'{name}' must be a number of at most 64 bits, got {len(str(value))} digits."


def _question_problems(said: Mapping[str, Any]) -> Iterator[SuiteProblem]:
    tables = _tables(said, "collections")
    roles = [table.get("role") if isinstance(table, dict) else None for table in tables.values()]
    if roles and all(role == "general" for role in roles):
        message = 'every collection has role = "general", so none can decide. Remove one role.'
        yield ("collections", next(iter(tables)), "role"), message
    metrics = said.get("metrics", [])
    for text in metrics if isinstance(metrics, list) else []:
        try:
            parse_metric(text) if isinstance(text, str) else None
        except HarnessError as error:
            yield ("metrics",), str(error)
    baseline = said.get("baseline")
    if isinstance(baseline, str):
        yield from _known(said, "candidates", baseline, ("baseline",))


def _candidate_problems(
    said: Mapping[str, Any], typed: Mapping[str, CandidateSpec]
) -> Iterator[SuiteProblem]:
    names = _tables(said, "candidates").keys()
    suite = RestOfSuite(
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
    said: Mapping[str, Any],
    training: Mapping[str, TrainingSpec],
    typed: Mapping[str, CandidateSpec],
) -> Iterator[SuiteProblem]:
    finders = {}  # what can search for new queries before anything is trained
    for name in _tables(said, "candidates"):
        found = typed.get(uncompressed(typed, name))
        finders[name] = found is None or (found.can_search and not found.parents)
    collections = _tables(said, "collections")
    for name, spec in training.items():
        for keys, message in generate_problems(spec, collections=collections, finders=finders):
            yield ("training", name, *keys), message


def _scored_split(table: Any) -> Any:
    default = CollectionSpec.model_fields["split"].default
    return table.get("split", default) if isinstance(table, dict) else None


def _cycle_problems(typed: Mapping[str, CandidateSpec]) -> Iterator[SuiteProblem]:
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


def _judging_problems(
    said: Mapping[str, Any], typed: Mapping[str, CandidateSpec]
) -> Iterator[SuiteProblem]:
    """Yield what is wrong with the model that ``[judging]`` names."""
    table, at = said.get("judging"), ("judging",)
    if table is None or any(shape_problems(JudgingSpec, table, at)):
        return
    spec = JudgingSpec.model_validate(table)
    yield from _one_of(spec, ("candidate", "model", "language_model"), at)
    yield from _known(said, "candidates", spec.candidate, (*at, "candidate"))
    named = typed.get(spec.candidate or "")
    if named is not None and not named.scores_pairs:
        message = f"'{spec.candidate}' scores no pairs. Name a candidate with a cross-encoder."
        yield (*at, "candidate"), message
    if spec.language_model is not None:
        for key, message in server_problems(spec.language_model):
            yield (*at, "language_model", key), message


def _diagnosis_problems(said: Mapping[str, Any]) -> Iterator[SuiteProblem]:
    """Yield what ``[diagnosis]`` names and the suite does not, and what no server may be."""
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
    with suppress(ValidationError):  # which the shapes tell
        for key, message in server_problems(
            LanguageModelSpec.model_validate(table.get("language_model"))
        ):
            yield ("diagnosis", "language_model", key), message


def _collection_problems(
    spec: CollectionSpec, said: Mapping[str, Any], at: tuple[str, ...]
) -> Iterator[SuiteProblem]:
    """Yield which keys of pairs stand at another source, and where a corpus has no documents."""
    kind = spec.source.partition(":")[0]
    if spec.columns.said and kind not in {"pairs", "folder", "hf", "trec", GIVEN}:
        yield (*at, "columns"), f"'columns' names those of 'pairs:<file>', got '{kind}'. Remove it."
    if kind == "folder" and spec.questions is None:
        message = 'a folder needs questions. Add questions = "questions.csv", with the columns'
        yield at, f"{message} 'query' and 'file'."
    if kind != "folder" and spec.questions is not None:
        hint = 'Write source = "folder:…", or pairs with a corpus.'
        yield (*at, "questions"), f"'questions' is for 'folder:<folder>', got '{kind}'. {hint}"
    if spec.cut is not None and 2 * spec.cut.overlap >= spec.cut.tokens:
        most = (spec.cut.tokens - 1) // 2
        message = f"'overlap' must be less than half of 'tokens', got {spec.cut.overlap}"
        yield (*at, "passages", "overlap"), f"{message} of {spec.cut.tokens}. At most {most}."
    if spec.corpus is None:
        return
    if kind != "pairs":
        yield (*at, "corpus"), f"'corpus' is for 'pairs:<file>', got '{kind}'. Remove it."
    other = _tables(said, "collections").get(spec.corpus)
    if isinstance(other, dict) and (spec.corpus == at[-1] or "corpus" in other):
        message = f"'corpus' is a collection with documents of its own, got '{spec.corpus}'."
        yield (*at, "corpus"), f"{message} Name its corpus."


def _slice_problems(
    said: Mapping[str, Any], slices: Mapping[str, SliceSpec]
) -> Iterator[SuiteProblem]:
    for name, spec in slices.items():
        at = ("slices", name)
        yield from _one_of(spec, ("queries", "file", "matching"), at)
        yield from _known(said, "collections", spec.collection, (*at, "collection"))
        try:
            re.compile(spec.matching or "")
        except (re.error, RecursionError, OverflowError) as error:
            got = repr_excerpt(spec.matching)
            message = f"'matching' is no regular expression, got {got}: {error}. Correct it."
            yield (*at, "matching"), message


def _gate_problems(
    spec: GateSpec, said: Mapping[str, Any], at: tuple[str, ...]
) -> Iterator[SuiteProblem]:
    """Yield what is wrong between this gate and the rest of the file."""
    yield from _known(said, "candidates", spec.candidate, (*at, "candidate"))
    yield from _known(said, "collections", spec.collection, (*at, "collection"))
    if isinstance(spec, MustPass):
        yield from _one_of(spec, ("queries", "file"), at)
        if spec.collection is None and len(_tables(said, "collections")) > 1:
            yield at, "there are several collections. Say which with 'collection'."
    if not isinstance(spec, SampledGate):
        return
    yield from _known(said, "slices", spec.slice, (*at, "slice"))
    table = _tables(said, "slices").get(spec.slice or "")
    owner = table.get("collection") if isinstance(table, dict) else None
    if owner is not None and spec.collection not in (None, owner):
        message = f"slice '{spec.slice}' is of '{owner}', got '{spec.collection}'. Remove one."
        yield (*at, "collection"), message
    yield from _gated_metric_problems(spec, said, (*at, "metric"))


def _sequential_problems(
    gates: Mapping[str, GateSpec], said: Mapping[str, Any]
) -> Iterator[SuiteProblem]:
    """Yield what cannot be judged beside gates that stop before all queries are asked."""
    on = {name: gate for name, gate in gates.items() if gate.level != "off"}
    early = {name for name, gate in on.items() if isinstance(gate, NoWorse) and gate.sequential}
    if not early:
        return
    whole = "it reads all queries, but sequential gates stop early. Make it sequential too, or "
    for name in [*on.keys() - early]:
        if not isinstance(on[name], AtMost):
            yield ("gates", name), f"{whole}move it to a suite of its own."
    fix = "or 'sequential' from the gates."
    for name, table in _tables(said, "collections").items():
        if isinstance(table, dict) and table.get("clusters") is not None:
            text = "a sequential gate reads query by query, but clustered queries are dependent."
            yield ("collections", name, "clusters"), f"{text} Remove 'clusters', {fix}"
    for name, table in _tables(said, "candidates").items():
        for key in ("finetune", "rerank"):
            recipe = table.get(key) if isinstance(table, dict) else None
            recipe = recipe.get("finetune", recipe) if isinstance(recipe, dict) else None
            if isinstance(recipe, dict) and recipe.get("seeds", 1) != 1:
                text = "a sequential gate ignores the variance of training seeds."
                yield ("candidates", name, key), f"{text} Train with one seed, {fix}"


def _gated_metric_problems(
    spec: SampledGate, said: Mapping[str, Any], at: tuple[str, ...]
) -> Iterator[SuiteProblem]:
    if spec.metric is None:
        return
    try:
        asked = str(parse_metric(spec.metric))
        known = [str(parse_metric(text)) for text in said.get("metrics", [])]
    except (HarnessError, TypeError, AttributeError) as error:
        if isinstance(error, HarnessError) and f"'{spec.metric}'" in str(error):
            yield at, str(error)
        return  # what is wrong with the suite's metrics is told there
    if asked not in known:
        hint = did_you_mean(asked, known)
        yield at, f"the suite has no metric '{asked}'.{hint} Or add it to 'metrics'."


def _known(
    said: Mapping[str, Any], key: str, name: str | None, at: tuple[str, ...]
) -> Iterator[SuiteProblem]:
    """Yield a problem if a name is given that no table below `key` has."""
    names = _tables(said, key)
    if name is not None and name not in names:
        none = f" The suite has no {key}; add [{key}.{name}]." if not names else ""
        yield at, no_such(OWNERS[key], name, names) + none


def _one_of(spec: Spec, keys: tuple[str, ...], at: tuple[str, ...]) -> Iterator[SuiteProblem]:
    given = [key for key in keys if getattr(spec, key) is not None]
    if len(given) != 1:
        choice = ", ".join(f"'{key}'" for key in keys)
        got = " and ".join(f"'{key}'" for key in given) or "none"
        yield at, f"give one of {choice}, got {got}."


def _tables(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = said.get(key)
    return found if isinstance(found, dict) else {}
