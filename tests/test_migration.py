"""What a change takes once: texts to embed where vectors are new, an index where they are not."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from conftest import plan_of, save_static, write_suite
from rich.console import Console
from situations import decided, option

from harness.decision.gather import gather_situation
from harness.decision.migration import migration
from harness.decision.rules import decide
from harness.decision.situation import Action, Migration
from harness.plan.execute import execute
from harness.plan.plan import Plan
from harness.results.gathering import gather_costs
from harness.stage import Silent
from harness.store import Store
from reports.decision_view import banner, markdown, render


@pytest.fixture
def plan(tmp_path: Path, beir: Path, static_model: Path, store: Store) -> Plan:
    save_static(tmp_path / "other", seed=9)
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [candidates]
        static = {{ model = "{static_model}" }}
        other = {{ model = "{tmp_path}/other" }}
        words = {{ kind = "bm25" }}
        short = {{ from = "static", truncate = 8 }}
        coarse = {{ from = "static", quantize = "int8" }}
        hybrid = {{ fuse = ["words", "static"] }}
        both = {{ fuse = ["other", "static"] }}
        asked = {{ model = "{static_model}", prompts = {{ query = "find: " }} }}
        cascade = {{ from = "static", rerank = {{ candidate = "other", depth = 5 }} }}
        known = {{ from = "words", rerank = {{ candidate = "static", depth = 5 }} }}
        [prices]
        device_hour = 2
        gb_month = 1
        documents = 1_000_000
        queries_per_month = 1
        """,
    )
    made = plan_of(suite, store)
    execute(made, progress=Silent())
    return made


def test_texts_are_embedded_where_the_vectors_of_documents_are_new(plan: Plan):
    n = len(plan.collections["small"].documents)
    for name in ("other", "both", "cascade"):
        found = migration(plan, name)
        assert found is not None
        assert found.embeds
        assert found.documents == 1_000_000
        assert found.tokens is not None
        assert found.hours is not None
        assert found.tokens == pytest.approx(_tokens(plan) * 1_000_000 / n, abs=1)
        assert found.money == pytest.approx(2 * found.hours)
        assert found.currency == "USD"
        assert found.tokens_per_second == pytest.approx(found.tokens / found.hours / 3600, rel=1e-5)
        assert found.device


def _tokens(plan: Plan) -> int:
    shards = plan.planner.encodes("other", "small")[0].timings(plan.store)
    return sum(shard.meta["tokens"] for shard in shards)


def test_a_form_of_stored_vectors_or_of_words_takes_an_index_and_embeds_nothing(plan: Plan):
    sizes = {cost.candidate: cost.bytes_per_document for cost in gather_costs(plan).costs}
    for name in ("words", "short", "coarse"):
        found = migration(plan, name)
        assert found is not None
        assert (found.embeds, found.tokens, found.hours) == (False, None, None)
        assert found.index_bytes == pytest.approx(1_000_000 * (sizes[name] or 0), rel=1e-6)
    hybrid, known = migration(plan, "hybrid"), migration(plan, "known")
    assert hybrid == known == migration(plan, "words")  # the index of vectors is there already


def test_the_baselines_index_serves_another_side_for_queries(plan: Plan):
    assert migration(plan, "static") is None
    assert migration(plan, "asked") is None


def test_the_decision_holds_what_each_option_takes(plan: Plan):
    found = decide(gather_situation(plan, gather_costs(plan)), suite="small")
    assert {each.candidate: each.migration for each in found.options} == {
        name: migration(plan, name) for name in plan.suite.candidates if name != "static"
    }


MOVED = Migration(
    documents=5_183,
    embeds=True,
    tokens=1_500_000,
    hours=0.5,
    tokens_per_second=833.4,
    device="a GPU",
    money=0.03,
    currency="USD",
    index_bytes=7_960_000,
)


def test_the_price_is_one_line_of_what_is_chosen_and_one_of_the_others():
    decision = decided(
        option("b", 0.1, migration=MOVED),
        option("c", 0.0, migration=MOVED),
        option("d", -0.1, Action.FUSE, migration=Migration(documents=9, index_bytes=36)),
        option("slow", 0.1, over_budget=("Too slow.",), migration=MOVED),
        option("reranked", 0.0, Action.RERANK),
    )
    needs = (
        "5,183 documents (about 1,500,000 tokens) to embed, 30.0\xa0min (833 tokens/s on a GPU), "
        "0.03 USD"
    )
    index = "adds 7.96\xa0MB"
    chosen = f"Migration: {needs}; {index} while both serve. Old and new vectors do not mix."
    rest = [
        f"Migration to 'c' (adds 7.96\xa0MB): {needs}.",
        "Migration to 'd' (adds 36\xa0B): nothing to embed.",
        "Old and new vectors do not mix.",
    ]
    console = Console(width=400, file=io.StringIO(), color_system=None)
    console.print(render(decision), highlight=False)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in (shown, markdown(decision)):
        assert chosen in text
        assert all(line in text for line in rest)
    page = banner(decision)
    assert f"<p>{chosen}</p>" in page
    assert "<summary>Migration to other options</summary><ul><li>Migration to &#39;c&#39; (" in page


def test_what_is_not_known_is_left_out():
    made = Migration(documents=9, embeds=True)
    decision = decided(option("b", 0.1, migration=made))
    expected = "Migration: 9 documents to embed; adds an index while both serve. Old and new"
    assert expected in markdown(decision)
