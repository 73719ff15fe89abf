"""Keys: every field of everything that has a key changes it, or says why not.

The classes are found, and so are their fields: who adds one need not touch this file, unless
nothing here can build a value of its type.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import shutil
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from conftest import plan_of, save_static, write_suite, write_vectors
from pydantic import BaseModel

import harness
from harness.diagnosis.diagnose import plan_diagnosis
from harness.plan.plan import Plan
from harness.retrieval import latency
from harness.stage import Keyed
from harness.store import Store

WORDS = ("one", "two")


def dataclasses() -> list[type]:
    """Return the concrete dataclasses of the harness, those of few fields first."""
    found = {
        each
        for module in pkgutil.walk_packages(harness.__path__, "harness.")
        if not module.name.endswith("__main__")
        for each in vars(importlib.import_module(module.name)).values()
        if isinstance(each, type) and is_dataclass(each) and each.__module__ == module.name
    }
    concrete = (each for each in found if not inspect.isabstract(each) and _is_value(each))
    return sorted(concrete, key=lambda each: (len(fields(each)), each.__name__))


def _is_value(kind: type) -> bool:
    """Tell whether a class can be in a field of a stage: what knows the plan or pages is above."""
    try:
        get_type_hints(kind)
    except NameError:  # of a name that is imported for type checkers alone
        assert not issubclass(kind, Keyed), f"{kind}: import the types of its fields"
        return False
    return True


CLASSES = dataclasses()
# One with a field of that name is given its key.
KEYED = sorted(
    (each for each in CLASSES if hasattr(each, "key") and "key" not in each.__annotations__),
    key=lambda each: each.__name__,
)


@dataclass
class Maker:
    """Builds two different values of any type that a field has here.

    Attributes:
        folder: for files.
        store: that has no artifact.
        plan: with candidates and collections of the names in `WORDS`.
    """

    folder: Path
    store: Store
    plan: Plan

    def make(self, hint: Any, number: int) -> Any:
        """Return the first or second value of a type; number is 0 or 1."""
        origin, parts = get_origin(hint), get_args(hint)
        if origin in {Annotated, Union, types.UnionType}:
            return self.make(next(part for part in parts if part is not types.NoneType), number)
        if origin is Literal:
            return parts[number % len(parts)]
        if origin is np.ndarray:
            return np.array([number])
        if origin is Mapping:
            return {WORDS[0]: self.make(parts[1], number)}
        if origin in {tuple, list, Sequence, frozenset}:
            some = parts if origin is tuple and ... not in parts else (parts[0], parts[0])
            return (list if origin is list else tuple)(self.make(part, number) for part in some)
        return self._make_one(hint, number)

    def _make_one(self, kind: type, number: int) -> Any:
        plain: dict[type, Any] = {
            str: WORDS[number],
            bool: bool(number),
            int: number + 1,
            float: (number + 1) / 4,
            Store: self.store,
            Plan: self.plan,
        }
        if kind in plain:
            return plain[kind]
        if kind is Path:
            path = self.folder / f"{number}.npy"
            return write_vectors(path, np.full((2, 2), number + 1.0), list(WORDS))
        if isinstance(kind, type) and issubclass(kind, tuple):
            return kind(*(self.make(hint, number) for hint in get_type_hints(kind).values()))
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind.model_construct(**self._values(kind, number))
        found = kind if kind in CLASSES else self._implementation(kind)
        return found(**self._values(found, number))

    def _values(self, kind: type, number: int) -> dict[str, Any]:
        return {
            name: None if kind in get_args(hint) else self.make(hint, number)  # one within another
            for name, hint in hints(kind).items()
        }

    def _implementation(self, kind: type) -> type:
        """Return the smallest class that is, or does, what an abstract one says."""
        if not isinstance(kind, type):
            raise TypeError(f"{kind}: teach `Maker` to build one")
        said = [name for name in vars(kind) if not name.startswith("_")]
        for each in CLASSES:
            is_one = (
                all(hasattr(each, name) or name in hints(each) for name in said)
                if getattr(kind, "_is_protocol", False)
                else issubclass(each, kind)
            )
            if is_one and not any(kind.__name__ in str(hint) for hint in hints(each).values()):
                return each
        raise TypeError(f"{kind}: teach `Maker` to build one")

    def others(self, value: Any, hint: Any) -> Iterator[Any]:
        """Yield other values of a field: the second, and None where it may be None."""
        if len(get_args(hint)) > 1 or get_origin(hint) is not Literal:
            yield self.make(hint, 1)
        if types.NoneType in get_args(hint) and value is not None:
            yield None


def hints(kind: type) -> dict[str, Any]:
    """Return the types of the fields of a dataclass or a table."""
    names = kind.model_fields if issubclass(kind, BaseModel) else [f.name for f in fields(kind)]
    found = get_type_hints(kind, include_extras=True)
    return {name: found[name] for name in names}


def changes(
    maker: Maker, value: Any, without: Collection[str] = ()
) -> Iterator[tuple[str, Any, bool]]:
    """Yield (field, value with another one there, whether the key must differ) for every field."""
    is_table = isinstance(value, BaseModel)
    said = {} if is_table else {each.name: each.metadata for each in fields(value)}
    for name, hint in hints(type(value)).items():
        how, held = said.get(name, {}), getattr(value, name)
        names = how.get("names", ())
        left_out = name in without or ("unkeyed" in how and not names)
        assert how.get("unkeyed", "a reason").strip(), f"{name}: say why it is left out"
        below = [*names, *(n.removeprefix(f"{name}.") for n in without if n.startswith(f"{name}."))]
        parts = hints(type(held)) if below else {}
        assert {n.partition(".")[0] for n in below} <= set(parts), f"{name}: no field of {below}"
        whole = left_out or "keyed by" in how or (hasattr(held, "key") and not below)
        if not whole and (is_dataclass(held) or isinstance(held, BaseModel)):
            inner = changes(maker, held, below)
        else:
            inner = (("", other, not left_out) for other in maker.others(held, hint))
        for place, other, matters in inner:
            changed = {name: other}
            copy = value.model_copy(update=changed) if is_table else replace(value, **changed)
            yield f"{name}.{place}".rstrip("."), copy, matters


def key_of(value: Any, store: Store) -> str | None:
    found: str | None = value.key(store) if callable(value.key) else value.key
    return found


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory, beir: Path) -> Maker:
    folder = tmp_path_factory.mktemp("keys")
    return Maker(folder, store := Store(folder / "store"), plan_in(folder, beir, store))


def plan_in(folder: Path, beir: Path, store: Store, more: str = "") -> Plan:
    """Return a plan whose candidates and collections have the names in `WORDS`."""
    tables = [f'baseline = "{WORDS[0]}"\n']
    for seed, name in enumerate(WORDS):
        save_static(folder / name, seed=seed)
        tables.append(f'candidates.{name}.model = "{folder / name}"\n')
        tables.append(f'collections.{name}.source = "beir:{beir}"\n')
    return plan_of(write_suite(folder / "suite.toml", "".join(tables) + more), store)


@pytest.mark.parametrize("kind", KEYED, ids=lambda kind: kind.__name__)
def test_every_field_changes_the_key_or_says_why_not(
    kind: type, maker: Maker, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(latency, "device_name", lambda device: device)  # of devices to be had
    value = maker.make(kind, 0)
    usual = key_of(value, maker.store)
    assert usual is not None
    assert key_of(maker.make(kind, 0), maker.store) == usual
    for place, other, matters in changes(maker, value):
        assert (key_of(other, maker.store) != usual) == matters, place


def test_the_stages_are_found():
    names = {each.__name__ for each in KEYED}
    assert {"Search", "Space", "Encode", "Train", "CheckHealth", "Collection", "_Encoded"} <= names


def test_equal_files_elsewhere_give_equal_keys(
    tmp_path: Path, beir: Path, cross_encoder: Path, store: Store
):
    def keys(folder: Path) -> list[str | None]:
        shutil.copytree(cross_encoder, folder / "cross")
        save_static(folder / "neutral", seed=5)
        (folder / "pairs.csv").write_text("query,document\nred,a red thing\nblue,a blue one\n")
        more = f"""
            candidates.last = {{ from = "one", rerank = {{ model = "{folder}/cross", depth = 5 }} }}
            training.own.source = "pairs:{folder}/pairs.csv"
            [diagnosis]
            candidates = ["one"]
            neutral = "{folder}/neutral"
            training.one = ["own"]
            """
        made = plan_diagnosis(plan_in(folder, beir, store, more))
        return [stage.key(store) for stage in (*made.plan.stages, *made.explained, *made.checked)]

    one, two = (keys(tmp_path / name) for name in WORDS)
    assert one == two
    assert None not in one


def test_no_stage_holds_a_plan_to_read_what_its_key_forgets():
    assert [kind for kind in KEYED if Plan in hints(kind).values()] == []


def test_a_cross_encoder_that_is_added_asks_for_another_diagnosis(
    tmp_path: Path, beir: Path, cross_encoder: Path, store: Store
):
    spec = f'{{ from = "one", rerank = {{ model = "{cross_encoder}", depth = 5 }} }}'
    asked = '[diagnosis]\ncandidates = ["one"]\n'
    keys = [
        {stage.key(store) for stage in plan_diagnosis(plan_in(folder, beir, store, more)).explained}
        for folder, more in (
            (tmp_path / "without", asked),
            (tmp_path / "with", f"candidates.judge = {spec}\n{asked}"),
        )
    ]
    assert None not in keys[0] | keys[1]
    assert not keys[0] & keys[1]  # its scores can show that an unjudged document is relevant


@pytest.mark.parametrize("held", [Path("a"), object(), {1, 2}], ids=["path", "object", "set"])
def test_a_field_of_an_unknown_type_is_refused(held: Any, store: Store):
    @dataclass(frozen=True)
    class Odd(Keyed):
        held: Any

    with pytest.raises(TypeError, match="a key cannot hold a"):
        Odd((held,)).key(store)
