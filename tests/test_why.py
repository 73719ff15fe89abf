"""The page and the terminal show a diagnosis: everything once, and texts only as texts."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from diagnoses import DOCUMENTS, QUERIES, candidate, cluster, diagnosis, finding, health
from rich.console import Console
from situations import decided, option
from small_results import COSTS, MEANS, TREE, results
from test_browser import NASTY, visit

from harness.diagnosis.values import Diagnosis, proven_first
from reports import diagnosis_view, html
from reports.diagnosis_tables import CollectionTexts, levers
from reports.odds_figure import draw_odds, odds_caption
from reports.stored import Stored
from reports.why import Diagnosed

TEXTS = {"small": CollectionTexts(QUERIES, DOCUMENTS)}
SAID = (
    "minilm on small",
    "dose, drug",
    "The answer lies beyond the limit",
    "ranks 11 to 100",
    "what is the dose of drug 1",
    "the dose of drug 2 is small",
    "Few documents are hubs.",
    "Cluster c1 lies far from the training pairs.",
    "3 of 20 would end it.",
    "Both return it first.",
    "Recoverable, each remedy measured alone on these queries: chunking +0.023.",
)


def page(found: Diagnosis, texts: dict[str, CollectionTexts] = TEXTS) -> str:
    return html.render(results(TREE, MEANS), COSTS, {}, Diagnosed(found, texts))


def terminal(found: Diagnosis, texts: dict[str, CollectionTexts] = TEXTS, width: int = 400) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(diagnosis_view.render(found, texts, results(TREE, MEANS)))
    return console.file.getvalue()  # type: ignore[attr-defined]  # of the StringIO


@pytest.mark.parametrize("said", SAID)
def test_page_and_terminal_say_everything(said: str):
    assert said in page(diagnosis())
    assert said in terminal(diagnosis())


def test_a_terminal_of_80_columns_breaks_no_word_of_a_table():
    shown = terminal(diagnosis(), width=80)
    for word in ("confirmed", "recoverable", "stability", "reranker"):
        assert word in shown


def test_a_page_without_a_diagnosis_has_no_such_section():
    shown = html.render(results(TREE, MEANS), COSTS, {})
    assert "Why it fails" not in shown
    assert "Why it fails" in page(diagnosis())


def test_nothing_found_is_said():
    bare = candidate(clusters=[], findings=[], space=None, training=None)
    found = diagnosis(
        candidates=[bare],
        data=[health(reversible=[], unjudged=[], duplicate_groups=[], leaks=[])],
    )
    assert "No significant cluster." in page(found)
    assert "No significant cluster." in terminal(found)
    assert "No unjudged result looks relevant." in page(found)
    capped = diagnosis(data=[health(more_unjudged=2500)])
    assert (
        "2,501 unjudged results may be relevant. The 1 likeliest are listed, 1 of them with a "
        "likelihood of 0.5 or more (a result: a query and a document)."
    ) in page(capped)


@pytest.mark.parametrize("width", [80, 120])
def test_a_narrow_terminal_shows_all_columns(width: int):
    shown = terminal(diagnosis(), width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert "stability" in "".join(shown.split())


def test_proven_reasons_come_first_and_one_lever_counts_once():
    found = [
        finding(reason="a", status="refuted", recoverable=None),
        finding(reason="b", status="supported", recoverable=None),
        finding(reason="c", recoverable=0.01),
        finding(reason="d", recoverable=0.02),
    ]
    assert [each.reason for each in proven_first(found)] == ["d", "c", "b", "a"]
    assert levers(candidate(findings=found)) == [("chunking", 0.02)]


def test_the_odds_are_drawn_with_a_caption_that_names_the_clear_ones():
    found = [finding(), finding(title="Nothing", status="not significant", low=0.5, p_adjusted=1)]
    figure = draw_odds(found)
    assert [trace.name for trace in figure.data] == ["confirmed", "not significant"]
    assert "Clear over all reasons: The answer lies beyond the limit." in odds_caption(found)
    assert not draw_odds([]).data


def test_texts_of_a_diagnosis_that_are_scripts_are_only_shown(
    chromium: str,
    tmp_path: Path,
):
    script, image, svg, template = NASTY
    texts = {
        "small": CollectionTexts(dict.fromkeys(QUERIES, script), dict.fromkeys(DOCUMENTS, image))
    }
    found = diagnosis(
        candidates=[
            candidate(
                candidate=svg,
                neutral=template,
                clusters=[cluster(label=[script, svg], predicate=image)],
                findings=[finding(title=svg, sentence=image)],
                warnings=[script],
            )
        ],
        data=[health(leaks=[svg], duplicate_groups=[[script, image]])],
    )
    seen = visit(chromium, tmp_path, page(found, texts))
    assert 'id="executed"' not in seen.dom
    assert seen.console == []
    assert seen.requests == []


def test_the_page_says_why_the_recommended_candidate_is_not_diagnosed():
    chosen = Stored(
        Path(), results(TREE, MEANS), COSTS, {}, decided(option("bm25", 0.1)), diagnosis()
    )
    assert chosen.decision is not None
    other = replace(chosen, decision=chosen.decision.model_copy(update={"candidate": "bm25"}))
    said = 'Set candidates = ["minilm", "bm25"] in [diagnosis] and run harness diagnose again.'
    assert said in other.undiagnosed
    covered = replace(chosen, decision=chosen.decision.model_copy(update={"candidate": "minilm"}))
    assert not covered.undiagnosed
    shown = html.render(
        results(TREE, MEANS), COSTS, {}, Diagnosed(diagnosis(), TEXTS, missing="bm25 is missing.")
    )
    assert "bm25 is missing." in shown
