"""Drawings: every kind of mark that the report uses stands where its axes say."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import numpy as np
import plotly.graph_objects as go
import pytest
from small_results import COSTS, MEANS, TREE, results

from harness.diagnosis.values import Topic
from reports import diagnosis_figures, drawing, odds_figure, plots
from reports.svg import marks, text
from reports.svg.figure import WIDE, drawn

SMALL = results(TREE, MEANS)


def parsed(figure: go.Figure) -> ET.Element:
    return ET.fromstring(drawn(figure))  # noqa: S314 - a text of ours


def one(*traces: object, **layout: object) -> ET.Element:
    figure = drawing.frame(height=300)
    figure.add_traces(list(traces))
    figure.update_layout(**layout)
    return parsed(figure)


def paths(found: ET.Element) -> list[str]:
    return [p.get("d", "") for p in found.iter("path") if p.get("class") is None]


def test_every_figure_of_the_page_is_drawn() -> None:
    for plot in (*plots.overview(SMALL, COSTS, "scifact"), *plots.tree(SMALL, "scifact")):
        found = parsed(plot.figure)
        assert len(paths(found)) > 2, plot.key
        numbers = re.findall(r"-?\d+\.?\d*", " ".join(paths(found)))
        assert max(map(float, numbers)) <= WIDE


def test_a_point_stands_between_the_ticks_around_it() -> None:
    found = one(
        go.Scatter(x=[1, 3], y=[5, 7], mode="lines", line={"color": "red"}, showlegend=False)
    )
    [line] = paths(found)
    x0, y0, x1, y1 = (float(number) for number in re.findall(r"[\d.]+", line))
    assert x0 < x1
    assert y0 > y1
    texts = ["".join(each.itertext()) for each in found.iter("text")]
    assert texts == ["1.0", "1.5", "2.0", "2.5", "3.0", "5.0", "5.5", "6.0", "6.5", "7.0"]


def test_bars_that_are_stacked_start_where_the_last_one_ends() -> None:
    bars = [
        go.Bar(x=[size], y=[0], orientation="h", marker={"color": "red"}, showlegend=False)
        for size in (0.25, 0.75)
    ]
    found = one(*bars, barmode="stack", xaxis={"range": [0, 1]})
    starts = [re.findall(r"M([\d.]+) [\d.]+H([\d.]+)", path) for path in paths(found)]
    [[(start, middle)], [(second, end)]] = starts
    assert middle == second
    assert float(end) - float(start) == pytest.approx(4 * (float(middle) - float(start)), abs=0.3)


def test_what_hovering_says_is_a_title_and_names_are_escaped() -> None:
    point = go.Scatter(
        x=[1],
        y=[1],
        mode="markers+text",
        text=[drawing.label("<b>&")],
        customdata=[drawing.label("<i>")],
        hovertemplate="%{customdata}<extra></extra>",
        marker={"color": "red"},
        name="point",
    )
    found = one(point)
    assert [each.text for each in found.iter("title")] == ["<i>"]
    assert "<b>&" in ["".join(each.itertext()) for each in found.iter("text")]


def test_many_points_without_a_text_are_one_path() -> None:
    crowd = go.Scattergl(
        x=list(range(500)), y=[1] * 500, mode="markers", marker={"color": "red"}, showlegend=False
    )
    assert len(paths(one(crowd))) == 1


@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize("n", [300, diagnosis_figures.CROWD + 1])
def test_a_map_is_drawn_with_its_scale_its_names_and_its_shades(n: int, *, coloured: bool) -> None:
    rng = np.random.default_rng(3)
    colours = diagnosis_figures.metric_colours(rng.random(n), metric="ndcg@10")
    topics = [Topic(collection="c", title="how many genes and cells & more", n=n, x=0.5, y=0.5)]
    figure = diagnosis_figures.query_map(
        rng.random((n, 2)), colours if coloured else None, [], topics=topics
    )
    found = parsed(figure)
    texts = ["".join(each.itertext()) for each in found.iter("text")]
    assert any("cells & more" in each for each in texts)
    assert ("ndcg@10" in texts) == coloured
    fills = {path.get("fill", "") for path in found.iter("path")}
    assert (len({path.get("stroke") for path in found.iter("path")}) > 10) == coloured
    assert any(fill.startswith("rgba(127") for fill in fills) == (n > diagnosis_figures.CROWD)


def test_a_flow_keeps_its_values_from_left_to_right() -> None:
    links = {"source": [0, 0, 1], "target": [1, 2, 3], "value": [3, 1, 3], "color": "grey"}
    nodes = {"label": list("abcd"), "color": ["red"] * 4}
    found = parsed(go.Figure(go.Sankey(node=nodes, link=links), {"height": 300}))
    widths = [float(path.get("stroke-width", 0)) for path in found.iter("path")]
    assert widths[0] == pytest.approx(3 * widths[1], rel=0.01)
    assert widths[0] == widths[2]
    lefts = [float(box.get("x", 0)) for box in found.iter("rect")]
    assert lefts[0] < lefts[1] == lefts[2] < lefts[3]


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="no way to draw pie"):
        drawn(go.Figure(go.Pie(values=[1])))


def test_a_wide_text_is_taken_for_wider() -> None:
    assert text.width("iii") < text.width("abc") < text.width("漢字漢") < text.width("WWWWWW")


def test_every_status_of_a_reason_has_a_symbol_that_is_drawn():
    for _, symbol in odds_figure._LOOKS.values():
        assert marks.symbol_at(symbol, 5, 5, 8).startswith("M5 5m")
