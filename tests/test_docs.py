"""What the documentation says is what the program does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import plan_of

from harness.cli import app
from harness.diagnosis.reasons import REASONS
from harness.runs.metrics import FAMILIES
from harness.store import Store
from harness.suite.inputs import read_inputs
from harness.suite.load import load_suite

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
SUITES = sorted((ROOT / "suites").glob("*.toml"))


def test_every_verb_is_in_the_readme_or_the_docs_and_no_other() -> None:
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    pages = [README, *(page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))]
    told = re.findall(r"`harness ([\w-]+)(?: \[?[A-Z]{2,}| --value|` \|)", " ".join(pages))
    assert set(told) == verbs


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", README)) <= targets


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.name)
def test_every_shipped_suite_is_valid_and_has_its_row(path: Path) -> None:
    suite = load_suite(path)
    row = f"| `{path.name}` | {suite.question} |"
    assert row in (ROOT / "suites" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.toml")), ids=lambda p: p.name)
def test_every_suite_of_the_benchmarks_is_valid_and_told(path: Path) -> None:
    load_suite(path)
    assert f"`{path.name}`" in (ROOT / "benchmarks" / "README.md").read_text("utf-8")


def test_the_suite_in_the_readme_is_valid(tmp_path: Path) -> None:
    whole, *others = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "suite.toml"
    path.write_text("".join([whole, *others]), "utf-8")
    suite = load_suite(path)
    assert set(suite.gates) == {"quality", "size"}


@pytest.mark.parametrize("page", ["candidates", "training", "diagnosis", "decisions"])
def test_the_tables_of_a_page_go_into_the_suite_of_the_readme(page: str, tmp_path: Path) -> None:
    whole, *_ = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    tables = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert tables
    path = tmp_path / "suite.toml"
    path.write_text("\n".join([whole, *tables]), "utf-8")
    load_suite(path)


def test_every_link_between_the_pages_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    lost = {
        (page.name, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    }
    assert lost == set()


def test_every_page_is_in_the_overview_and_the_navigation() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    overview = (ROOT / "docs" / "index.md").read_text("utf-8")
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert {page for page in pages if f"({page})" not in overview or page not in navigation} == (
        set()
    )


def test_the_glossary_names_every_reason_and_the_page_of_metrics_every_metric() -> None:
    reasons = (ROOT / "docs" / "diagnosis.md").read_text("utf-8")
    assert [each.title for each in REASONS if f"| {each.title} |" not in reasons] == []
    metrics = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    assert [name for name in FAMILIES if f"| `{name}" not in metrics] == []


def test_what_the_page_on_own_data_shows_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "own-data.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(r"```text (\S+)\n(.*?)```", page, re.DOTALL):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, "utf-8")
    tables = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    Path("suite.toml").write_text("".join(tables), "utf-8")
    found = read_inputs(load_suite(Path("suite.toml")), Store(Path("store")))
    assert {name: len(each.documents) for name, each in found.collections.items()} == {
        "clicks": 4,
        "pages": 5,
        "newswire": 2,
        "handbook": 3,
        "handbook-short": 3,
    }
    queries = {name: len(each.queries) for name, each in found.collections.items()}
    assert queries == {
        "clicks": 4,
        "pages": 4,
        "newswire": 2,
        "handbook": 2,
        "handbook-short": 2,
    }
    cut = [each.passages for each in found.collections.values() if each.passages is not None]
    assert [len(each.ids) for each in cut] == [3, 4]
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    made: dict[str, Any] = {}
    exec(code, made)  # noqa: S102 - the page's own
    given = read_inputs(made["suite"].spec, Store(Path("store"))).collections["pages"]
    assert given.key == found.collections["pages"].key


@pytest.mark.filterwarnings("ignore")
def test_what_the_page_on_tasks_of_mteb_shows_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "mteb-tasks.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    ((name, text),) = re.findall(r"```text (\S+)\n(.*?)```", page, re.DOTALL)
    Path(name).write_text(text, "utf-8")
    tables = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    Path("suite.toml").write_text("".join(tables), "utf-8")
    plan = plan_of(Path("suite.toml"), Store(Path("store")))
    assert [len(each.documents) for each in plan.collections.values()] == [4, 4]
    assert "no score for 'bm25', 'stemmed'" in " ".join(plan.planner.warnings)


def test_the_smallest_encoder_of_the_page_on_own_models_encodes() -> None:
    page = (ROOT / "docs" / "own-models.md").read_text("utf-8")
    (code,) = re.findall(r"```text models/mine.py\n(.*?)```", page, re.DOTALL)
    made: dict[str, Any] = {}
    exec(code, made)  # noqa: S102 - the page's own
    rows = made["Encoder"](width=8).encode(["one two", "two"])
    assert rows.shape == (2, 8)
    assert rows.sum(axis=1).tolist() == [2, 1]


def test_the_readme_lists_every_package_and_every_module_beside_them() -> None:
    found = {f"{each.parent.name}/" for each in (ROOT / "harness").glob("*/__init__.py")}
    found |= {each.name for each in (ROOT / "harness").glob("*.py")} - {"__init__.py"}
    assert {name for name in found if f"`{name}`" not in README} == set()


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_core_is_as_long_as_contributing_says() -> None:
    core = re.findall(r"`([\w/]+\.py)` (\d+)", CONTRIBUTING)
    lengths = {
        path: len((ROOT / "harness" / path).read_text("utf-8").splitlines()) for path, _ in core
    }
    wrong = {
        path: lengths[path]
        for path, lines in core
        if not 0.85 <= int(lines) / max(1, lengths[path]) <= 1.15
    }
    assert wrong == {}, "lines of today"
    assert sum(lengths.values()) <= 6800


def test_the_walk_names_ten_functions_in_ten_files() -> None:
    steps = re.findall(r"^\d+\. `([\w/]+\.py)` `(\w+)`", CONTRIBUTING, re.MULTILINE)
    assert len({path for path, _ in steps}) == len(steps) == 10
    for path, function in steps:
        assert f"def {function}(" in (ROOT / path).read_text("utf-8"), path
