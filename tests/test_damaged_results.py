"""Damaged results: whatever a disk or an editor did to a file, one sentence says which and why."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pytest

pytest.importorskip("streamlit.testing.v1")

from test_app import PAGES, Open, opened, shown, whole

from harness.errors import ExitCode, HarnessError
from reports.failed import read_failed
from reports.lookup import TABLES, Lookup
from reports.stored import read_results
from reports.written import write_reports

__all__ = ["opened"]  # a fixture

JSON = ("results.json", "costs.json", "decision.json", "diagnosis.json", "gate.json")
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("whole") / "planted")


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_file(path: Path) -> None:
    path.unlink()


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size))


def flips(seed: int) -> Damage:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        draw = np.random.default_rng(seed)
        for place in draw.integers(0, len(content), 3):
            content[place] ^= 1 << int(draw.integers(0, 8))
        path.write_bytes(bytes(content))

    flip.__name__ = f"flip{seed}"
    return flip


def columns_of(path: Path, change: Callable[[Any, int], Any]) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    pq.write_table(change(table, 1 if "text" in table.column_names else 3), path)


def drop_column(path: Path) -> None:
    columns_of(path, lambda table, place: table.remove_column(place))


def null_column(path: Path) -> None:
    import pyarrow as pa

    def change(table: Any, place: int) -> Any:
        name = table.column_names[place]
        return table.set_column(place, name, pa.nulls(len(table), pa.string()))

    columns_of(path, change)


def retype_column(path: Path) -> None:
    import pyarrow as pa

    def change(table: Any, place: int) -> Any:
        numbers = pa.array(np.arange(len(table)) * 0.5)
        return table.set_column(place, table.column_names[place], numbers)

    columns_of(path, change)


def no_rows(path: Path) -> None:
    columns_of(path, lambda table, _: table.slice(0, 0))


def nan_values(path: Path) -> None:
    import pyarrow as pa

    def change(table: Any, _: int) -> Any:
        for name in ("value", "score", "loss", "x"):
            if name in table.column_names:
                found = table.schema.get_field_index(name)
                nothing = pa.array(np.full(len(table), np.nan))
                table = table.set_column(found, name, nothing)
        return table

    columns_of(path, change)


TABLE_DAMAGES = (
    *(truncate, empty, no_file, folder_instead, noise, flips(1), flips(2), flips(3)),
    *(drop_column, null_column, retype_column, no_rows, nan_values),
)


def _leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs)[:3] if isinstance(value, list) else pairs:
        yield (*way, key)
        if isinstance(inner, (dict, list)):
            yield from _leaves(inner, (*way, key))


def odd_values(content: Any) -> Iterator[tuple[str, str]]:
    """Yield the text of a JSON file with each of its values replaced by odd ones, in turn."""
    for way in _leaves(content):
        copy = json.loads(json.dumps(content))
        inside = copy
        for key in way[:-1]:
            inside = inside[key]
        for odd in ("5", 5, True, None, [], {}, [1], float("nan"), float("inf")):
            inside[way[-1]] = odd
            yield f"{way}={odd!r}", json.dumps(copy)


def read_all(folder: Path) -> None:
    """Read whatever the pages read of a folder."""
    results = read_results(folder).results
    lookup = Lookup(folder)
    for collection in results.collections:
        texts = lookup.queries(collection.name)
        lookup.scores(collection.name, results.metrics[0])
        query = next(iter(texts), "q000")
        lookup.judgements(collection.name, query)
        lookup.outside(collection.name, query)
        for candidate in results.candidates:
            ranked = lookup.ranking(candidate.name, collection.name, query)
            lookup.documents(collection.name, [each.document for each in ranked])
            read_failed(folder, candidate.name, collection.name)


@pytest.fixture(scope="module")
def rendered(stored: Path, tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Return the tables that the reports read: they refuse one that is cut in the middle."""
    names = (*TABLES, "diagnosis.parquet")
    places = {name: tmp_path_factory.mktemp("cut") for name in names}
    folders = {name: damaged(stored, place, name, truncate) for name, place in places.items()}
    return frozenset(name for name in names if refusal(write_reports, folders[name]))


def damaged(stored: Path, tmp_path: Path, name: str, damage: Damage) -> Path:
    folder = tmp_path / "damaged" / "planted"
    shutil.copytree(stored, folder)
    damage(folder / name)
    return folder


@pytest.mark.parametrize("name", [*TABLES, "diagnosis.parquet"])
@pytest.mark.parametrize("damage", TABLE_DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_table_is_one_sentence_with_the_file(
    stored: Path, tmp_path: Path, name: str, damage: Damage, rendered: frozenset[str]
) -> None:
    folder = damaged(stored, tmp_path, name, damage)
    is_seen = name in rendered or damage in (no_file, folder_instead)
    readers = (read_all, write_reports) if is_seen else (read_all,)
    for error in filter(None, (refusal(read, folder) for read in readers)):
        assert error.exit_code == ExitCode.DATA
        assert str(folder / name) in str(error)
        assert "Renew it: harness " in str(error)
        assert "\n" not in str(error)


def test_without_a_manifest_the_folder_goes_first(tmp_path: Path) -> None:
    for name in ("results.json", "manifest.json"):
        (tmp_path / name).write_text("{")
    error = refusal(read_results, tmp_path)
    assert error is not None
    assert f"remove the folder {tmp_path} first. Renew it: harness run SUITE" in str(error)
    done = command_line.harness("app", tmp_path / "results.json", cwd=tmp_path, env={})
    assert "a results folder is needed, got a file" in done.stderr


def refusal(read: Callable[[Path], object], folder: Path) -> HarnessError | None:
    """Return the expected error of a reader, or None; any other is the test's."""
    try:
        read(folder)
    except HarnessError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("per_query.parquet", nan_values),
        ("per_query.parquet", drop_column),
        ("queries.parquet", retype_column),
        ("top.parquet", null_column),
        ("documents.parquet", truncate),
    ],
)
def test_a_damaged_table_is_not_read(
    stored: Path, tmp_path: Path, name: str, damage: Damage
) -> None:
    with pytest.raises(HarnessError, match="damaged, got"):
        read_all(damaged(stored, tmp_path, name, damage))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_sentence(
    stored: Path, tmp_path: Path, opened: Open, page: str, name: str
) -> None:
    opened(damaged(stored, tmp_path, name, truncate), page)  # which looks for exceptions


def test_the_query_page_names_the_damaged_table(stored: Path, tmp_path: Path, opened: Open) -> None:
    app = opened(damaged(stored, tmp_path, "queries.parquet", truncate), "query")
    assert "queries.parquet: damaged, got" in shown(app)


@pytest.mark.parametrize("name", JSON)
def test_values_of_another_type_are_one_sentence(stored: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "planted"
    shutil.copytree(stored, folder)
    content = json.loads((folder / name).read_text())
    texts = list(odd_values(content))
    draw = np.random.default_rng(1).permutation(len(texts))[:20]
    rendered = 0
    for said, text in (texts[row] for row in draw):
        (folder / name).write_text(text)
        with suppress(HarnessError):
            found = read_results(folder)
            if "nan" in said or "inf" in said:
                assert found.unreadable, said
            if not found.unreadable and rendered < 1:
                rendered += 1
                write_reports(folder)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("costs.json", ("costs", 0, "candidate")),
        ("costs.json", ("costs", 0, "collection")),
        ("decision.json", ("candidate",)),
        ("diagnosis.json", ("candidates", 0, "candidate")),
        ("diagnosis.json", ("candidates", 0, "collection")),
        ("diagnosis.json", ("data", 0, "collection")),
        ("gate.json", ("findings", 0, "rule")),
        ("results.json", ("comparisons", 0, "metric")),
        ("results.json", ("comparisons", 0, "collection")),
        ("results.json", ("scores", -1, "collection")),
    ],
)
def test_names_that_the_results_do_not_have_are_one_sentence(
    stored: Path, tmp_path: Path, name: str, way: tuple[Any, ...]
) -> None:
    folder = tmp_path / "planted"
    shutil.copytree(stored, folder)
    inside = content = json.loads((folder / name).read_text())
    for key in way[:-1]:
        inside = inside[key]
    inside[way[-1]] = "nobody"
    (folder / name).write_text(json.dumps(content))
    if name == "results.json":
        with pytest.raises(HarnessError, match=r"no (comparison|score) of '.*' on "):
            read_results(folder)
        return
    [said] = read_results(folder).unreadable
    assert name in said
    assert re.search("'nobody' in results.json|of different collections|no rule 'nobody'", said)
    write_reports(folder)


@pytest.mark.parametrize("damage", [truncate, empty, noise], ids=lambda damage: damage.__name__)
def test_results_that_are_no_json_are_one_sentence(
    stored: Path, tmp_path: Path, damage: Damage
) -> None:
    folder = damaged(stored, tmp_path, "results.json", damage)
    with pytest.raises(HarnessError) as caught:
        read_results(folder)
    assert caught.value.exit_code == ExitCode.DATA
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["history", "manifest.json", *JSON])
@pytest.mark.parametrize("damage", [truncate, noise, folder_instead])
def test_what_lies_beside_the_results_stops_no_report(
    stored: Path, tmp_path: Path, name: str, damage: Damage
) -> None:
    folder = tmp_path / "damaged" / "planted"
    shutil.copytree(stored, folder)
    path = folder / name
    if name == "history":
        path = folder.with_name("planted.history.jsonl")
        path.write_text("{}\n")
    damage(path)
    with suppress(HarnessError):
        write_reports(folder)
