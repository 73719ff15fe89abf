"""Flow: a Sankey diagram, its steps from left to right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from reports.svg import text
from reports.svg.text import number

_THICK, _PAD, _TOP, _LABEL = 14.0, 30.0, 14.0, 190.0


class _Node(NamedTuple):
    """A node: its step, its height and the pixel of its upper end."""

    step: int
    size: float
    top: float


def drawn(trace: Mapping[str, Any], width: float, height: float) -> str:
    """Return links between nodes, whose heights are their values."""
    node, link = trace["node"], trace["link"]
    links = list(zip(link["source"], link["target"], link["value"], strict=True))
    steps = _steps(len(node["label"]), [(source, target) for source, target, _ in links])
    last = max(steps, default=0)
    nodes = _placed(steps, links, height)
    lefts = [step * (width - _LABEL - _THICK) / max(last, 1) for step in range(last + 1)]
    outs, ins = [each.top for each in nodes], [each.top for each in nodes]
    scale = _scale(steps, links, height)
    parts = []
    for source, target, value in links:
        thick = value * scale
        x0, x1 = lefts[nodes[source].step] + _THICK, lefts[nodes[target].step]
        y0, y1 = outs[source] + thick / 2, ins[target] + thick / 2
        outs[source], ins[target] = outs[source] + thick, ins[target] + thick
        parts.append(_link((x0, y0), (x1, y1), thick, link["color"]))
    for place, each in enumerate(nodes):
        x = lefts[each.step]
        box = f'x="{number(x)}" y="{number(each.top)}" width="{number(_THICK)}"'
        colour = node["color"][place]
        parts.append(f'<rect {box} height="{number(max(each.size, 1))}" fill="{colour}"/>')
        label, y = node["label"][place], each.top + each.size / 2
        parts.append(text.drawn(label, x + _THICK + 6, y, more=' class="named"'))
    return "".join(parts)


def _steps(size: int, links: list[tuple[int, int]]) -> list[int]:
    """Return the step of each node: one behind the last node that leads to it."""
    steps = [0] * size
    for _ in range(size):
        for source, target in links:
            steps[target] = max(steps[target], steps[source] + 1)
    return steps


def _sizes(size: int, links: list[tuple[int, int, float]]) -> list[float]:
    outs, ins = [0.0] * size, [0.0] * size
    for source, target, value in links:
        outs[source] += value
        ins[target] += value
    return [max(pair) for pair in zip(outs, ins, strict=True)]


def _scale(steps: list[int], links: list[tuple[int, int, float]], height: float) -> float:
    """Return pixels of a unit, so that the fullest step fits."""
    sizes = _sizes(len(steps), links)
    scales = []
    for step in set(steps):
        mine = [size for size, where in zip(sizes, steps, strict=True) if where == step]
        scales.append((height - 2 * _TOP - _PAD * (len(mine) - 1)) / max(sum(mine), 1e-9))
    return max(min(scales, default=1.0), 0.0)


def _placed(steps: list[int], links: list[tuple[int, int, float]], height: float) -> list[_Node]:
    """Return the nodes, those of a step below each other and around the middle."""
    scale, sizes = _scale(steps, links, height), _sizes(len(steps), links)
    tops: dict[int, float] = {}
    for step in set(steps):
        mine = [size * scale for size, where in zip(sizes, steps, strict=True) if where == step]
        tops[step] = (height - sum(mine) - _PAD * (len(mine) - 1)) / 2
    nodes = []
    for step, size in zip(steps, sizes, strict=True):
        nodes.append(_Node(step, size * scale, tops[step]))
        tops[step] += size * scale + _PAD
    return nodes


def _link(start: tuple[float, float], end: tuple[float, float], thick: float, colour: str) -> str:
    middle = number((start[0] + end[0]) / 2)
    (x0, y0), (x1, y1) = (map(number, place) for place in (start, end))
    curve = f"M{x0} {y0}C{middle} {y0} {middle} {y1} {x1} {y1}"
    return f'<path d="{curve}" fill="none" stroke="{colour}" stroke-width="{number(thick)}"/>'
