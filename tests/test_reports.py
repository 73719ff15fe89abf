"""Reports: what they say of small results, and that they stand whatever the results are."""
# ruff: noqa: RUF001 - the reports print true minus signs and dashes

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from html import unescape

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from small_results import COSTS, MEANS, NO_COSTS, TREE, candidate, cost, results

from harness.results.values import Costs, Cut, Results
from harness.statistics.verdicts import Verdict
from reports import (
    drawing,
    figures,
    html,
    markdown,
    query_figures,
    reading,
    tables,
    terminal,
    wording,
)
from reports.plots import Plot
from reports.sections import Block, Section

SMALL = results(TREE, MEANS)


def printed(found: Results, costs: Costs = NO_COSTS, *, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(terminal.summary(found, costs))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def page(found: Results, costs: Costs = NO_COSTS) -> str:
    """Return the page without its scripts, of which one is plotly."""
    return html.render(found, costs, {"harness": "0.1", "packages": {"numpy": "2"}}).partition(
        "<script>"
    )[0]


def pair(mean: float, *, half: float = 0.02, n: int = 300) -> Results:
    both = [candidate("old"), candidate("new")]
    return results(both, {"old": 0.4, "new": mean}, half=half, n=n)


def test_a_derived_candidate_stands_below_its_parent_and_a_fusion_is_a_root() -> None:
    assert [(branch.candidate.name, branch.depth) for branch in reading.branches(SMALL)] == [
        ("minilm", 0),
        ("minilm/128", 1),
        ("tuned", 1),
        ("tuned/128", 2),
        ("bm25", 0),
        ("hybrid", 0),
    ]


def test_the_terminal_shows_the_best_score_first_with_intervals_and_costs() -> None:
    assert """
candidate                 ndcg@10 [95%]  recall@100  p95 ms  size/doc
─────────────────────────────────────────────────────────────────────
tuned              0.500 [0.480, 0.520]       0.500    3.50   1,536 B
hybrid             0.490 [0.470, 0.510]       0.490    5.50   1,536 B
tuned/128          0.460 [0.440, 0.480]       0.460    4.50     512 B
minilm (baseline)  0.400 [0.380, 0.420]       0.400    0.50   1,536 B
bm25               0.390 [0.370, 0.410]       0.390    1.50   1,536 B
minilm/128         0.350 [0.330, 0.370]       0.350    2.50     512 B
""" in printed(SMALL, COSTS).replace("\u00a0", " ")


def test_latency_and_size_stand_in_one_table_of_a_narrow_terminal() -> None:
    for width in (60, 70, 76):
        heads = [line for line in printed(SMALL, COSTS, width=width).splitlines() if "ms" in line]
        assert [line.split()[-2:] for line in heads] == [["ms", "size/doc"]]


def test_names_beside_the_points_of_quality_against_cost_stay_in_their_panel() -> None:
    times = {"minilm/128": 0.5, "hybrid": 400.0}
    costs = Costs(costs=[cost(name, milliseconds=times.get(name, 1.0), size=8.0) for name in MEANS])
    figure = figures.quality_and_cost(SMALL, costs, "scifact")
    sides = {
        text: side
        for trace in figure.data
        if trace.xaxis == "x" and trace.text
        for text, side in zip(trace.text, trace.textposition, strict=True)
    }
    assert sides["minilm/128"].endswith("right")
    assert sides["hybrid"].endswith("left")


def test_an_edge_from_the_baseline_has_the_numbers_of_the_comparison_with_it() -> None:
    wider = [
        dataclasses.replace(each, family_low=-0.09) if each.role == "parent" else each
        for each in SMALL.comparisons
    ]
    changed = SMALL.model_copy(update={"comparisons": wider})
    found = reading.comparisons_of(changed, "scifact", "ndcg@10", role="parent")
    assert {each.candidate for each in found if each.family_low != -0.09} == {"minilm/128", "tuned"}
    assert len(found) == 5


def test_the_terminal_says_which_differences_are_clear_without_colour() -> None:
    shown = " ".join(printed(SMALL).split())
    assert "▼ −0.050 [−0.070, −0.030] <0.001 20/270/10" in shown
    assert "● −0.010 [−0.030, +0.010] 0.300 20/270/10" in shown
    assert (
        "● bm25: inconclusive (with n=300 an effect below ±0.029 is not reliably detected (power "
        "under 0.80); about 700 more queries to tell them apart or show that they differ by less "
        "than 0.01)."
    ) in shown


def test_the_terminal_reads_no_markup_in_names() -> None:
    named = results([candidate("[bold]old[/nothing]")], {"[bold]old[/nothing]": 0.4})
    assert "[bold]old[/nothing]" in printed(named)


@pytest.mark.parametrize("width", [80, 120])
def test_a_long_name_is_broken_and_never_cut(width: int) -> None:
    name = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2x"
    named = results([candidate("old"), candidate(name)], {"old": 0.4, name: 0.5})
    lines = printed(named, width=width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)
    assert "L12-v2x" in "".join(lines)


def test_markdown_is_a_table_per_collection() -> None:
    text = markdown.render(pair(0.5), NO_COSTS).replace("\u00a0", " ")
    assert text.startswith(
        """## Which one?

### scifact

On scifact, new scores highest in ndcg@10: 0.500 against 0.400 of the baseline old, \
+0.100 [+0.080, +0.120], p<0.001, n=300.

5,183 documents, 300 judged queries.

| candidate | ndcg@10 [95%] | difference [95%] | p | recall@100 | p95 ms | size/doc |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| new | 0.500 [0.480, 0.520] | ▲ +0.100 [+0.080, +0.120] | <0.001 | 0.500 | – | – |
| old (baseline) | 0.400 [0.380, 0.420] | reference |  | 0.400 | – | – |
"""
    )


def test_markdown_keeps_a_name_in_its_cell() -> None:
    name = "a|b <script>alert(1)</script> *c* [d](http://e)\nf"
    text = markdown.render(results([candidate(name)], {name: 0.4}), NO_COSTS)
    assert r"| a\|b &lt;script>alert(1)&lt;/script> \*c* [d\](http://e) f (baseline) |" in text
    assert "<script>" not in text


def test_the_headline_names_the_best_and_the_selection_bias() -> None:
    said = wording.headline(SMALL, "scifact")
    assert said == (
        "On scifact, tuned scores highest in ndcg@10: 0.500 against 0.400 of the baseline minilm, "
        "+0.100 [+0.080, +0.120], p<0.001, n=300. It is the best of 5 compared "
        "with the baseline, so its lead is optimistic (selection bias)."
    )


def test_the_headline_of_an_inconclusive_lead_says_so() -> None:
    assert wording.headline(pair(0.41), "scifact").endswith(
        "+0.010 [−0.010, +0.030], p=0.300, n=300: inconclusive (with n=300 an effect "
        "below ±0.029 is not reliably detected (power under 0.80); about 700 more queries to tell "
        "them apart or show that they differ by less than 0.01)."
    )


def test_the_headline_says_when_nothing_beats_the_baseline() -> None:
    said = wording.headline(pair(0.3), "scifact")
    assert said.startswith("On scifact, no candidate scores above the baseline old in ndcg@10")
    assert "The nearest is new, −0.100 [−0.120, −0.080], p<0.001" in said


def test_a_baseline_alone_is_compared_to_nothing() -> None:
    alone = results([candidate("old")], {"old": 0.4})
    assert "There is nothing to compare it with" in wording.headline(alone, "scifact")
    assert wording.chance(alone) == "Nothing was compared."
    assert "Differences from the baseline" not in page(alone)


def test_an_interval_of_its_own_that_leaves_out_zero_is_not_enough() -> None:
    two_queries = dataclasses.replace(
        pair(0.5).comparisons[0], verdict=Verdict.INCONCLUSIVE, more_queries=5, n=2
    )
    assert wording.verdict_in_words(two_queries) == (
        "inconclusive (significant on its own, not after adjustment for all candidates, n=2; "
        "about 5 more queries to tell them apart or show that they differ by less than the margin)"
    )
    assert wording.verdict_in_words(two_queries, with_count=False) == (
        "inconclusive (significant on its own, not after adjustment for all candidates, n=2)"
    )


def test_one_more_query_is_one_query_and_none_are_not_told() -> None:
    one = dataclasses.replace(pair(0.41).comparisons[0], more_queries=1)
    assert wording.verdict_in_words(one).endswith(
        "is not reliably detected (power under 0.80); about 1 more query to tell them apart or "
        "show that they differ by less than the margin)"
    )
    assert wording.verdict_in_words(dataclasses.replace(one, more_queries=0)).endswith(
        "is not reliably detected (power under 0.80))"
    )


def test_what_is_equivalent_is_called_so() -> None:
    equal = dataclasses.replace(pair(0.5).comparisons[0], verdict=Verdict.EQUIVALENT)
    assert wording.verdict_in_words(equal) == "equivalent"


def test_the_same_ranking_is_called_the_same() -> None:
    same = dataclasses.replace(pair(0.4).comparisons[0], wins=0, losses=0, mde=0.0)
    assert wording.verdict_in_words(same) == "the same on all 300 queries"


def test_an_unbounded_interval_is_called_so() -> None:
    one_query = pair(0.5, half=math.inf, n=1)
    assert "0.500 [unbounded]" in printed(one_query)
    assert "n=1 is too few;" in wording.headline(one_query, "scifact")


def test_the_families_that_p_is_adjusted_for_are_named_with_their_sizes() -> None:
    edges = sum(len(each.parents) for each in SMALL.candidates)
    others = len(SMALL.candidates) - 1
    told = wording.chance(SMALL)
    assert f"for the {others} comparisons with the baseline" in told
    assert f"between other candidates, for the {edges} steps of the tree" in told


def test_missing_queries_and_warnings_are_told() -> None:
    found = results([candidate("old")], {"old": 0.4}, missing=12)
    found = found.model_copy(update={"warnings": ["old is odd."]})
    sentence = "scifact: old returned nothing for 12 of 300 judged queries; they score 0."
    assert wording.warnings(found) == ["old is odd.", sentence]
    assert sentence in " ".join(printed(found).split())
    assert sentence in markdown.render(found, NO_COSTS)
    assert sentence in page(found)


def test_a_width_that_is_not_trained_for_is_hollow_and_named() -> None:
    figure = figures.widths(SMALL, "scifact")
    assert [trace.name for trace in figure.data[:2]] == ["minilm", "tuned"]
    assert list(figure.data[0].marker.symbol) == ["circle", "circle"]
    assert list(figure.data[1].marker.symbol) == ["square-open", "square"]
    caption = figures.widths_caption(SMALL, "scifact").replace("\u00a0", " ")
    assert "minilm keeps 87% of its mean at 128 of 384 dimensions." in caption
    assert "tuned keeps 92% of its mean at 128 of 384 dimensions. It declares no" in caption


def test_without_truncations_or_costs_their_figures_are_left_out() -> None:
    shown = page(pair(0.5))
    assert "Fewer dimensions" not in shown
    assert "Quality against cost" not in shown
    assert "No costs were measured." in shown


def test_only_measured_candidates_have_a_place_in_quality_against_cost() -> None:
    costs = Costs(
        costs=[
            cost("old", milliseconds=1.0, size=None),
            cost("new", milliseconds=None, size=None),
        ]
    )
    figure = figures.quality_and_cost(pair(0.5), costs, "scifact")
    assert [(trace.name, *trace.x) for trace in figure.data] == [("baseline", 1.0)]
    assert figure.layout.xaxis.title.text == "query p95, ms"


def test_one_cost_alone_has_ticks_around_it() -> None:
    for value in (1536.0, 42.0, 0.3):
        axis = drawing.log_axis([value])
        assert len(axis["tickvals"]) >= 1
        assert 10 ** axis["range"][0] < value < 10 ** axis["range"][1]


def test_points_that_coincide_share_one_label() -> None:
    costs = Costs(costs=[cost(name, milliseconds=2.0, size=8.0) for name in MEANS])
    figure = figures.quality_and_cost(results(TREE, dict.fromkeys(MEANS, 0.4)), costs, "scifact")
    texts = [text for trace in figure.data if trace.xaxis == "x" for text in trace.text or ()]
    assert sorted(texts)[:5] == [""] * 5
    assert sorted(max(texts).split("<br>")) == sorted(MEANS)


def test_the_frontier_steps_along_what_nothing_beats() -> None:
    figure = figures.quality_and_cost(SMALL, COSTS, "scifact")
    [front] = [trace for trace in figure.data if trace.mode == "lines" and trace.xaxis == "x"]
    assert list(front.y) == [MEANS["minilm"], MEANS["tuned"]]
    assert list(front.x) == sorted(front.x)


def test_a_difference_that_does_not_matter_is_shaded() -> None:
    figure = figures.differences(SMALL, "scifact", margin=0.03)
    [band] = figure.layout.shapes
    assert (band.x0, band.x1) == (-0.03, 0.03)
    assert not figures.differences(SMALL, "scifact").layout.shapes


def test_the_caption_names_what_nothing_beats() -> None:
    said = figures.quality_and_cost_caption(SMALL, COSTS, "scifact")
    assert "no candidate is both better and faster than minilm or tuned." in said
    assert "no candidate is both better and smaller than tuned or tuned/128." in said
    assert "Timed on one CPU." in said


def test_times_of_different_devices_are_not_compared() -> None:
    other = COSTS.costs[0].model_copy(update={"device": "a GPU"})
    said = figures.quality_and_cost_caption(
        SMALL, Costs(costs=[other, *COSTS.costs[1:]]), "scifact"
    )
    assert "Timed on different devices (a GPU and one CPU): latencies are not comparable." in said
    remote = other.model_copy(update={"device": "a provider", "network_ms_p50": 300.0})
    said = figures.quality_and_cost_caption(
        SMALL, Costs(costs=[remote, *COSTS.costs[1:]]), "scifact"
    )
    assert "Timed on one CPU. Latency of minilm includes the network" in said
    assert "not comparable" not in said


def test_what_is_the_same_of_all_is_said_once() -> None:
    measured = tables.measured(SMALL, COSTS, "scifact")
    kept, said = measured.without_same("timed on", "size/doc")
    assert said == "timed on one CPU, 2026-11-23"
    assert "timed on" not in kept.columns
    assert "size/doc" in kept.columns


def test_cut_texts_are_shown_with_the_limit() -> None:
    cut = Cut(candidate="old", collection="scifact", limit=256, documents=0.312, queries=0.0)
    shown = page(pair(0.5).model_copy(update={"cuts": [cut]})).replace("\u00a0", " ")
    assert re.search(r"256</td>\s*<td[^>]*>31.2%</td>\s*<td[^>]*>0%</td>", shown)


def test_every_figure_of_the_page_has_a_text_alternative() -> None:
    shown = page(SMALL, COSTS)
    labels = re.findall(r'role="img" aria-label="([^"]+)"', shown)
    assert [label.partition(".")[0] for label in labels] == [
        "Differences from the baseline",
        "Quality against cost",
        "Fewer dimensions",
        "What each change did",
    ]
    assert (
        "Better: tuned, hybrid and tuned/128. Worse: minilm/128. Inconclusive: bm25." in labels[0]
    )


def test_the_page_shows_the_manifest_as_it_is() -> None:
    manifest = {
        "command": "harness run <x>",
        "gpu": None,
        "packages": {"numpy": "2.1"},
        "a": [1, 2],
        "file": "../../suite.toml",
        "said": {"seed": 13, "candidates": {"b": {"from": "a", "truncate": 64}}},
    }
    shown = html.render(pair(0.5), NO_COSTS, manifest)
    assert "<dt>command</dt><dd>harness run &lt;x&gt;</dd>" in shown
    assert "<h3>packages</h3>" in shown
    assert "<dt>a</dt><dd>1, 2</dd>" in shown
    assert "<dt>candidates: b: truncate</dt><dd>64</dd>" in shown
    assert "suite.toml" not in shown
    assert "<dt>seed</dt>" not in shown


@pytest.mark.parametrize(("interactive", "most"), [(False, 100_000), (True, 6_000_000)])
def test_the_page_is_one_small_file_that_loads_nothing(*, interactive: bool, most: int) -> None:
    shown = html.render(SMALL, COSTS, {}, interactive=interactive)
    assert len(shown.encode("utf-8")) < most
    assert not re.search(r"<(link|img|iframe)|\s(src|srcset)=", shown.partition("<script>")[0])
    assert "default-src 'none'" in shown


def test_drawn_or_interactive_the_page_says_the_same() -> None:
    drawn, live = (
        re.sub(
            r"<svg.*?</svg>|<div data-plot=.*?</div>|<script>.*?</script>|<meta.*?>",
            "",
            page,
            flags=re.S,
        )
        for page in (html.render(SMALL, COSTS, {}), html.render(SMALL, COSTS, {}, interactive=True))
    )
    assert drawn.split() == live.split()


def test_many_queries_are_drawn_without_webgl_which_paper_and_viewers_lack() -> None:
    differences = np.linspace(-1, 1, query_figures.MOST_BARS + 10)
    figure = query_figures.waterline(differences, metric='ndcg@10"type":"scattergl"')
    assert {trace.type for trace in figure.data} == {"scattergl"}
    block = Block(plot=Plot("waterline", "All", "All.", figure))
    more = [Section("all", "All", "", [block])]
    shown = html.render(SMALL, COSTS, {}, more=more, interactive=True)
    [drawn] = [
        json.loads(unescape(found))
        for found in re.findall(r'data-plot="([^"]+)"', shown)
        if "scattergl" in found
    ]
    assert {trace["type"] for trace in drawn["data"]} == {"scatter"}
    assert '"type":"scattergl"' in drawn["layout"]["yaxis"]["title"]["text"]


def test_the_same_results_give_the_same_bytes() -> None:
    assert html.render(SMALL, COSTS, {}) == html.render(SMALL, COSTS, {})


# No letters of "nan", "inf" or "null", so that these can be looked for.
NAMES = st.text(alphabet="bcdegh0 _|<>&\"'/`*[]({$%\u00a0é漢", min_size=1, max_size=60)
NUMBERS = st.floats(min_value=0, max_value=1)


@st.composite
def generated(draw: st.DrawFn) -> tuple[Results, Costs]:
    names = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    made = []
    for place, name in enumerate(names):
        parents = draw(st.lists(st.sampled_from(names[:place]), max_size=2)) if place else []
        kind = {0: "dense", 1: "truncate", 2: "fuse"}[len(parents)]
        dimension = draw(st.sampled_from([None, 1, 64, 384]))
        made.append(candidate(name, kind=kind, parents=parents, dimension=dimension))
    found = results(
        made,
        {name: draw(NUMBERS) for name in names},
        collections=draw(st.lists(NAMES, min_size=1, max_size=2, unique=True)),
        half=draw(st.sampled_from([0.0, 0.03, math.inf])),
        n=draw(st.sampled_from([1, 2, 300])),
    )
    return found, Costs(costs=[draw(measured(name, found)) for name in names])


@st.composite
def measured(draw: st.DrawFn, name: str, found: Results) -> object:
    values = st.none() | st.floats(min_value=0, max_value=1e9)
    made = cost(name, milliseconds=draw(values), size=draw(values))
    return made.model_copy(update={"collection": found.collections[0].name})


def not_numbers(text: str) -> list[str]:
    return re.findall(r"(?i)\b(?:nan|inf|infinity)\b", text)


@given(generated())
@settings(deadline=None, max_examples=40)
def test_terminal_and_markdown_stand_whatever_the_results_are(made: tuple[Results, Costs]) -> None:
    for width in (80, 120):
        shown = printed(*made, width=width)
        assert not not_numbers(shown)
        assert max(map(cell_len, shown.splitlines())) <= width
    assert not not_numbers(markdown.render(*made))


@given(generated())
@settings(deadline=None, max_examples=12, phases=[Phase.reuse, Phase.generate])  # no slow shrinking
def test_the_page_stands_whatever_the_results_are(made: tuple[Results, Costs]) -> None:
    assert not not_numbers(page(*made))
