"""A first suite: written for data as people have them, checked, and ready to run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import harness
from conftest import write_beir

from harness.api.new import new_suite, source_of
from harness.errors import HarnessError
from harness.suite.load import load_suite

PAGES = {
    "password": "How to reset the password of your account from the sign-in page",
    "invoices": "When the invoices of a month are sent, and where they can be found",
    "team": "How a colleague is invited to the team, and what it costs",
}
LOG = "search_term;clicked_url;page_text;clicks\n" + "".join(
    f"{words};/help/{name};{text};{clicks}\n"
    for name, text in PAGES.items()
    for words, clicks in ((f"help with {name}", 2), (f"about the {name}", 1))
)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_click_log_with_columns_of_its_own_becomes_a_suite_that_runs() -> None:
    Path("clicks.csv").write_text(LOG, "utf-8")
    made = harness("new", "clicks.csv")
    assert made.returncode == 0, made.stderr
    assert "harness run clicks.toml" in made.stdout
    text = Path("clicks.toml").read_text("utf-8")
    assert 'document_id = "clicked_url", grade = "clicks" }' in text
    assert "bm25" in load_suite(Path("clicks.toml")).candidates
    again = harness("new", "clicks.csv")
    assert (again.returncode, Path("clicks.toml").read_text("utf-8")) == (2, text)
    assert "is never overwritten" in again.stderr


def test_an_export_of_excel_is_read_and_a_score_that_is_no_grade_is_left_out() -> None:
    rows = "".join(f"help with {name};{text};0.25\n" for name, text in PAGES.items())
    Path("My FAQ.csv").write_text(f"Customer question;Our answer;Score\n{rows}", "utf-16")
    made = new_suite("My FAQ.csv")
    assert made.path == Path("my-faq.toml")
    columns = load_suite(made.path).collections["my-faq"].columns.said
    assert columns == {"query": "Customer question", "document": "Our answer"}


def test_a_folder_of_files_takes_the_questions_beside_it() -> None:
    Path("handbook").mkdir()
    for name, text in PAGES.items():
        Path("handbook", f"{name}.md").write_text(f"# {name}\n\n{text}", "utf-8")
    refused = harness("new", "handbook")
    assert refused.returncode == 2
    assert "Name it with --questions." in refused.stderr
    asked = "".join(f"help with {name},{name}.md\n" for name in PAGES)
    Path("questions.csv").write_text(f"question,file\n{asked}", "utf-8")
    assert load_suite(new_suite("handbook").path).collections["handbook"].questions == (
        "questions.csv"
    )


def test_paths_start_at_the_suite() -> None:
    Path("clicks.csv").write_text(LOG, "utf-8")
    Path("suites").mkdir()
    made = new_suite("clicks.csv", out=Path("suites/help.toml"))
    source = load_suite(made.path).collections["clicks"].source
    assert source == f"pairs:..{os.sep}clicks.csv"


def test_the_split_that_there_is_is_scored() -> None:
    queries = {name: f"help with {name}" for name in PAGES}
    judged = {"validation": [(name, name, 1) for name in PAGES]}
    write_beir(Path("pages"), documents=PAGES, queries=queries, qrels=judged)
    assert load_suite(new_suite("pages").path).collections["pages"].split == "validation"


def test_a_source_is_known_by_what_it_holds() -> None:
    write_beir(Path("beir"), documents=PAGES, queries={}, qrels={"test": []})
    Path("trec").mkdir()
    for name in ("docs.sgml", "topics.txt", "qrels.txt"):
        Path("trec", name).write_text("", "utf-8")
    Path("hub").mkdir()
    Path("hub", "train-00000-of-00001.parquet").write_bytes(b"")
    assert [source_of(name) for name in ("beir", "trec", "hub")] == [
        "beir:beir",
        "trec:trec",
        "hf:hub",
    ]
    assert source_of("mteb/scifact") == "hf:mteb/scifact"
    assert source_of("ir_datasets:beir/scifact/test") == "ir_datasets:beir/scifact/test"


def test_what_cannot_be_read_is_refused_and_leaves_no_file() -> None:
    Path("clicks.csv").write_text(LOG, "utf-8")
    with pytest.raises(HarnessError, match=r"Did you mean 'clicks\.csv'"):
        new_suite("clcks.csv")
    Path("notes.docx").write_bytes(b"PK")
    with pytest.raises(HarnessError, match="Save it as CSV"):
        new_suite("notes.docx")
    Path("empty.csv").write_text("query,document\n", "utf-8")
    with pytest.raises(HarnessError, match=r"^empty\.csv: no rows"):
        new_suite("empty.csv")
    assert not list(Path().glob("*.toml"))
    assert harness("new").returncode == 2


def test_quiet_shows_results_alone_and_verbose_each_stage() -> None:
    Path("clicks.csv").write_text(LOG, "utf-8")
    Path("bm25.toml").write_text(
        'name = "bm25"\nmetrics = ["ndcg@10"]\nbaseline = "bm25"\n[candidates.bm25]\n'
        'kind = "bm25"\n[collections.clicks]\nsource = "pairs:clicks.csv"\n'
        'columns = { document_id = "clicked_url", grade = "clicks" }\n',
        "utf-8",
    )
    quiet = harness("run", "bm25.toml", "-q").stdout
    assert "ndcg@10" in quiet
    assert "Took" not in quiet
    assert "Reading" not in quiet
    loud = harness("run", "bm25.toml", "-v", "--store", "kept", "--results", "again").stdout
    assert ", stored in kept" in loud
    assert harness("run", "bm25.toml", "-q", "-v").returncode == 2


def test_a_folder_of_collections_is_told_with_their_names(tmp_path: Path) -> None:
    for language in ("de", "en"):
        write_beir(
            tmp_path / "quad" / language,
            documents=PAGES,
            queries={"q": "how"},
            qrels={"test": [("q", "team", 1)]},
        )
    with pytest.raises(HarnessError, match=r"folders 'de', 'en'.*harness new .*quad/de"):
        source_of(str(tmp_path / "quad"))
    assert source_of(str(tmp_path / "quad" / "en")).startswith("beir:")
