"""Plots: figures as the page holds them, with what one sees in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Plot:
    """A figure on the page.

    Attributes:
        title: heading.
        caption: what one sees.
        json: plotly's data and layout.
        key: names of the numbers in the figure, from 1.
    """

    title: str
    caption: str
    json: str
    key: tuple[str, ...] = ()


def plotted(title: str, caption: str, figure: Figure, key: tuple[str, ...] = ()) -> Iterator[Plot]:
    """Yield a plot, or nothing where the figure has nothing to show."""
    if figure.data:
        yield Plot(title, caption, figure.to_json(), key)
