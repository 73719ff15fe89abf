"""The JSON Schema and the reference of the suite file say what the program takes."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.suite.schema import reference, suite_schema

ROOT = Path(__file__).parents[1]
SUITES = sorted([*(ROOT / "suites").glob("*.toml"), *(ROOT / "benchmarks").glob("*.toml")])
USUAL: dict[str, Any] = {
    "name": "x",
    "metrics": ["ndcg@10"],
    "baseline": "a",
    "collections": {"c": {"source": "beir:x"}},
    "candidates": {"a": {"kind": "bm25"}},
}


def problems(suite: Any) -> list[str]:
    found = jsonschema.Draft202012Validator(suite_schema()).iter_errors(suite)
    return [f"{each.json_path}: {each.message}" for each in found]


def test_what_is_published_is_that_of_this_version():
    told = "run `make docs`"
    assert (ROOT / "docs" / "suite.md").read_text("utf-8") == reference(), told
    stored = json.loads((ROOT / "docs" / "suite.schema.json").read_text("utf-8"))
    assert stored == suite_schema(), told


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.name)
def test_every_suite_here_follows_the_schema(path: Path):
    jsonschema.Draft202012Validator.check_schema(suite_schema())
    assert problems(tomllib.loads(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"a": {"from": "b", "truncate": 64}}, ""),
        ({"a": {"from": "b", "truncat": 64}}, "$.candidates.a"),
        ({"a": {"from": "b", "truncate": 0}}, "$.candidates.a"),
        ({"a": {"from": "b", "finetune": {"data": "c:train", "hard_negatives": 4}}}, ""),
        ({"a": {"from": "b", "finetune": {"data": ["c:train"], "loss": "nope"}}}, "$.candidates.a"),
        ({"a": {"from": "b", "query_model": "small"}}, ""),
        ({"a": {"model": "openai:any", "budget_usd": 1.5}}, ""),
        ({"a": {"from": "b", "rerank": {"model": "mteb:x", "depth": 9}}}, ""),
        ({"a": {"kind": "bm52"}}, "$.candidates.a"),
    ],
)
def test_candidates_are_of_one_kind(table: dict[str, Any], told: str):
    found = problems({**USUAL, "candidates": table})
    assert bool(found) == bool(told)
    assert told in " ".join(found)


def test_every_table_and_every_key_has_its_place_in_the_reference():
    page = reference()
    defs = suite_schema()["$defs"]
    for name, table in defs.items():
        if table:
            assert f'<a id="{name.lower()}"></a>' in page
            for key in table["properties"]:
                assert f"| `{key}` |" in page
    links = set(re.findall(r"\(#([\w-]+)\)", page))
    assert links <= {name.lower() for name in defs}
