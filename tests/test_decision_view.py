"""The decision as a terminal and a pull request show it."""

from __future__ import annotations

import io
from html import unescape

import pytest
from rich.console import Console
from situations import cut, decided, differences, option

from harness.decision.situation import Action, OptionCost
from harness.decision.verdict import Decision
from reports import formats
from reports.decision_view import banner, every_option, markdown, options, render


@pytest.fixture
def decision() -> Decision:
    """Return a decision with every part: costs, a bar, a note, a published finding."""
    cost = OptionCost(query_ms_p95=12.5, bytes_per_document=1536.0)
    return decided(
        option("a|b <c> & d", 0.1, cost=cost),
        option("org/a-model-with-a-rather-long-name-v2", 0.05, Action.RERANK),
        option("slow", 0.2, over_budget=("The p95 latency of 90 ms exceeds the budget of 50 ms.",)),
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
        decision.price,
        *(f"{each.candidate} {each.action}: {each.reply}" for each in decision.answers),
        *(rule.evidence for rule in decision.rules),
        *(each.candidate for each in decision.options),
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
    assert len(rows) == 2 * (2 + len(decision.options))  # at most five, and all of them folded
    assert {row.replace("\\|", "").count("|") for row in rows} == {7, 10}
    assert "<c>" not in text
    assert "a\\|b &lt;c> & d" in text


def test_markdown_has_every_part(decision: Decision):
    text = markdown(decision)
    assert text.startswith("## Switch to ")
    assert "(decided)" in text
    assert text.count("'slow': The p95 latency of 90 ms exceeds the budget of 50 ms.") == 1
    assert "slow is excluded" not in text
    said = f"**What would change it**: {decision.experiment}"
    assert said.split("'", maxsplit=1)[0] in text
    assert "- org/new is 0.050 above base." in text


def test_the_table_has_five_options_at_most_and_the_one_taken_first():
    many = decided(*(option(f"o{place}", place / 100) for place in range(8)))
    assert len(options(many).rows) == 5
    assert options(many).rows[0][0] == many.candidate
    assert len(every_option(many).rows) == len(many.options) == 8
    assert "3 more options below." in shown(many)


def test_one_difference_has_one_interval(decision: Decision):
    """The one that decides, in the table; everything else names the mean alone."""
    for text in (shown(decision, width=200), markdown(decision), str(banner(decision))):
        for each in decision.options:
            assert text.count(formats.span(each.low, each.high)) == 1


def test_every_form_says_the_same_lines(decision: Decision):
    replies = (f"{each.action}: {each.reply}" for each in decision.answers)
    lines = (decision.sentence, decision.price, *replies)
    page = unescape(str(banner(decision)))
    request = unescape(markdown(decision)).replace("\\|", "|")
    for line in lines:
        assert line in page
        assert line in request


def test_several_collections_stand_above_the_mean():
    parts = (differences(0.12, n=500), differences(-0.05, n=500, seed=2))
    text = shown(decided(option("b", parts)))
    assert "Collections disagree." in text
    assert text.index("'b' on c1: \u22120.050 [") < text.index("\nb ")


def test_decision_without_options_is_shown_too():
    assert "Undecided: add options to compare" in shown(decided())
    assert markdown(decided()).startswith("## Undecided")


def test_answers_that_the_table_has_no_room_for_are_lines_below_it():
    kinds = ("switch", "fuse", "rerank", "fine-tune", "fix the pipeline")
    six = decided(*(option(each, -0.1, Action(each)) for each in kinds), cut("base/64", -0.2, 64))
    rows = {row[0] for row in options(six).rows}
    [left] = [each for each in six.answers if each.candidate not in rows]
    for text in (shown(six, width=200), markdown(six), unescape(str(banner(six)))):
        assert left.sentence in text


def test_a_wide_terminal_shows_every_gain_beside_its_interval(decision: Decision):
    first = decision.options[0]
    gain = formats.difference(first.difference, first.low, first.high)
    assert gain in shown(decision, width=120)
    assert gain not in shown(decision, width=80)
