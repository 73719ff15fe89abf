"""The decision as a terminal and a pull request show it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from situations import cut, decided, option

from harness.decision.situation import Action, OptionCost
from harness.decision.verdict import Decision
from reports.decision_view import markdown, render


@pytest.fixture
def decision() -> Decision:
    """Return a decision with every part: costs, a bar, a note, a published finding."""
    cost = OptionCost(query_ms_p95=12.5, bytes_per_document=1536.0)
    return decided(
        option("a|b <c> & d", 0.1, cost=cost),
        option("org/a-model-with-a-rather-long-name-v2", 0.05, Action.RERANK),
        option("slow", 0.2, over_budget=("90 ms exceed the budget of 50.",)),
        cut("base/64", -0.1, 64),
        published=("org/new is 0.050 above base.",),
    )


def shown(decision: Decision, *, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render(decision), highlight=False)
    text = console.file.getvalue()
    assert isinstance(text, str)
    return text


def test_terminal_shows_verdict_rules_options_and_what_is_next(decision: Decision):
    text = " ".join(shown(decision, width=200).split())
    for part in (
        decision.sentence,
        *(rule.evidence for rule in decision.rules),
        *(regret.candidate for regret in decision.regrets),
        "slow is excluded: 90 ms exceed the budget of 50.",
        decision.experiment,
        *decision.published,
    ):
        assert part in text
    assert "(decided)" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_name_is_lost(decision: Decision, width: int):
    lines = shown(decision, width=width).splitlines()
    assert max(map(len, lines)) <= width
    folded = "".join("".join(lines).split())
    assert "slow" in folded
    assert "\u2026" not in folded


def test_markup_in_a_name_is_shown_as_it_is():
    text = " ".join(shown(decided(option("[red]x[/red]", 0.1)), width=200).split())
    assert "[red]x[/red]" in text


def test_markdown_escapes_names_and_keeps_every_row_whole(decision: Decision):
    text = markdown(decision)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(decision.regrets)
    assert all(row.replace("\\|", "").count("|") == 9 for row in rows)
    assert "<c>" not in text
    assert "a\\|b &lt;c&gt; &amp; d" in text


def test_markdown_has_every_part(decision: Decision):
    text = markdown(decision)
    assert text.startswith("## Switch to ")
    assert "(decided)" in text
    assert "- slow is excluded: 90 ms exceed the budget of 50." in text
    assert f"**Next**: {decision.experiment}".split("'", maxsplit=1)[0] in text
    assert "- org/new is 0.050 above base." in text


def test_decision_without_options_is_shown_too():
    assert "Undecided: add options to compare" in shown(decided())
    assert markdown(decided()).startswith("## Undecided")
