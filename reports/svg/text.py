"""Text: plotly's labels, which hold a little HTML, as SVG, with an estimate of their size."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Literal
from unicodedata import east_asian_width

SIZE = 13.0  # pixels
_LINE = 1.2  # of the size
_BASE = 0.35  # of the size: from the middle of a letter to its base
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|!()[]{} \u00a0"), frozenset("mwMW%@→+\u2212")
_TAG = re.compile(r"</?[bi]>")

Anchor = Literal["start", "middle", "end"]
TextSide = Literal["above", "centred", "below"]


def number(value: float) -> str:
    """Return a coordinate, to a tenth of a pixel.

    >>> number(12.04), number(0.46), number(-0.01)
    ('12', '0.5', '0')
    """
    shown = f"{value:.1f}".removesuffix(".0")
    return "0" if shown == "-0" else shown


def lines(label: str) -> list[str]:
    """Return the lines of a label, still with its escapes and the marks of bold and italic text.

    >>> lines("<i>two<br>lines</i>")
    ['<i>two</i>', '<i>lines</i>']
    """
    if whole := re.fullmatch(r"(<[bi]>)((?:(?!</?[bi]>).)*)(</[bi]>)", label, re.DOTALL):
        return [f"{whole[1]}{line}{whole[3]}" for line in whole[2].split("<br>")]
    return label.split("<br>")


def width(label: str, size: float = SIZE) -> float:
    """Return about how many pixels the longest line of a label takes."""
    return max(_line_width(line) for line in lines(label)) * size


def height(label: str, size: float = SIZE) -> float:
    """Return how many pixels a label takes from top to bottom."""
    return len(lines(label)) * _LINE * size


def _line_width(line: str) -> float:
    bold = 1.07 if "<b>" in line else 1.0
    return bold * sum(map(_em, unescape(_TAG.sub("", line))))


def _em(letter: str) -> float:
    """Return the width of a letter in sizes, as of a wide font without serifs."""
    if letter in _NARROW:
        return 0.34
    if letter in _WIDE or east_asian_width(letter) in {"W", "F"}:
        return 0.95
    return 0.7 if letter.isupper() else 0.62


def drawn(
    label: str,
    x: float,
    y: float,
    *,
    anchor: Anchor = "start",
    side: TextSide = "centred",
    size: float = SIZE,
    more: str = "",
) -> str:
    """Return a label at a place.

    Args:
        label: as plotly reads it.
        x: pixels.
        y: pixels, of its middle, or of its lower or upper end.
        anchor: which end of each line stands at x.
        side: where it lies from y.
        size: of the letters, pixels.
        more: attributes.
    """
    tall = height(label, size)
    top = {"above": y - tall, "centred": y - tall / 2, "below": y}[side]
    first = top + (_LINE / 2 + _BASE) * size
    down = f' dy="{number(_LINE * size)}"'
    spans = [
        f'<tspan x="{number(x)}"{down if place else ""}>{_span(line)}</tspan>'
        for place, line in enumerate(lines(label))
    ]
    sized = "" if size == SIZE else f' font-size="{number(size)}"'
    where = f'y="{number(first)}" text-anchor="{anchor}"{sized}{more}'
    return f"<text {where}>{''.join(spans)}</text>"


def _span(line: str) -> str:
    """Return a line whose bold parts are marked as SVG marks them."""
    parts = re.split(r"(</?[bi]>)", line)
    marks = {"<b>": '<tspan font-weight="600">', "<i>": '<tspan font-style="italic">'}
    marks |= dict.fromkeys(("</b>", "</i>"), "</tspan>")
    return "".join(marks.get(part) or escape(unescape(part), quote=False) for part in parts)


def tooltip(label: object) -> str:
    """Return what hovering shows, as far as a page without scripts can."""
    said = unescape(_TAG.sub("", "\n".join(lines(str(label)))))
    return f"<title>{escape(said, quote=False)}</title>"
