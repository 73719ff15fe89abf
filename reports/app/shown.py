"""Shown: text, tables and figures on a page; no text of the user is ever taken for markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec

import streamlit as st
from markupsafe import Markup

from harness.errors import HarnessError
from reports import formats, gate_view, reading
from reports.plots import Plot
from reports.tables import Table

P = ParamSpec("P")
_HERE = Path(__file__).parent
_STYLE = "".join(
    path.read_text("utf-8") for path in (_HERE / "style.css", _HERE.parent / "markup.css")
)
_CONFIG: dict[str, Any] = {"displaylogo": False, "displayModeBar": False}
_SELECTING: dict[str, Any] = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["toImage", "zoomIn2d", "zoomOut2d", "autoScale2d"],
}
SelectionMode = Literal["points", "box", "lasso"]

_SHADES: Mapping[str, str] = {
    **{shape: str(verdict) for verdict, shape in reading.SHAPES.items()},
    **{gate_view.STATE_SHAPES[state]: state.split()[0] for state in gate_view.STATE_SHAPES},
}
_MOST_ALT = 900
_CHARACTER_PX, _PADDING_PX = 6.5, 16  # of a cell that Streamlit draws
# Streamlit folds the sidebar below 768 pixels; below 1,000 it leaves too little room beside it.
# What it then stores would fold the sidebar of a wide window too.
FOLD = """<script>{
const folds = document.querySelector(
  '[data-testid=stSidebarCollapseButton] button[aria-expanded=true]');
if (innerWidth < 1000 && folds) {
  folds.click();
  setTimeout(() => Object.keys(localStorage).filter(key => key.startsWith('stSidebarCollapsed'))
    .forEach(key => localStorage.removeItem(key)), 500);
}
}</script>"""


def style() -> None:
    """Add the style of everything that this module shows."""
    st.html(f"<style>{_STYLE}</style>")


def fold_sidebar() -> None:
    """Fold the sidebar of a narrow window."""
    st.html(FOLD, unsafe_allow_javascript=True)


def plain_label(text: str) -> str:
    """Return text for a label, which Streamlit reads as Markdown, so that it stays as it is.

    Every sign of Markdown is escaped. Emoji and icons such as ``:cat:`` are found after escapes are
    read, so a colon gets an invisible joiner behind it.
    """
    escaped = re.sub(r"([\\`*_{}\[\]()#+.!|~$<>&-])", r"\\\1", " ".join(text.split()))
    return escaped.replace(":", ":\u2060")


def html(markup: Markup) -> None:
    """Show markup, in which every text was escaped as it was put in."""
    st.html(str(markup))


def heading(title: str, note: str = "") -> None:
    """Show the title of a page, and a line about it."""
    under = Markup('<p class="h-note">{}</p>').format(note) if note else Markup("")
    html(Markup('<div class="h-page"><h1>{}</h1>{}</div>').format(title, under))


def section(title: str, note: str = "") -> None:
    """Show the title of a part of a page."""
    under = Markup('<p class="h-note">{}</p>').format(note) if note else Markup("")
    html(Markup('<div class="h-part"><h2>{}</h2>{}</div>').format(title, under))


def note(text: str) -> None:
    """Show a remark."""
    html(Markup('<p class="h-note">{}</p>').format(text))


def notice(text: str, *, kind: Literal["info", "warning"] = "info", command: str = "") -> None:
    """Show a state in which there is less to see, and the command that changes it."""
    run = Markup("<pre>{}</pre>").format(command) if command else Markup("")
    word = Markup("<strong>Warning.</strong> ") if kind == "warning" else Markup("")
    html(
        Markup('<div class="h-notice {}" role="status">{}{}{}</div>').format(kind, word, text, run)
    )


def refused(error: HarnessError) -> None:
    """Show every problem of an expected mistake."""
    for problem in error.problems:
        notice(problem, kind="warning")


def part(show: Callable[P, None]) -> Callable[P, None]:
    """Make a part of a page that runs again alone, and shows its expected mistakes as a page does.

    Streamlit shows what a fragment raises with its traceback, whoever would have caught it.
    """

    @wraps(show)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            show(*args, **kwargs)
        except HarnessError as error:
            refused(error)

    return st.fragment(run)


def bullets(items: Iterable[str], *, head: str = "", most: int = 100) -> None:
    """Show sentences as a list; those after the first `most` are folded away."""
    points = [Markup("<li>{}</li>").format(item) for item in items]
    if not points:
        return
    title = Markup("<p><strong>{}</strong></p>").format(head) if head else Markup("")
    first, rest = (
        Markup("<ul>{}</ul>").format(Markup("").join(part))
        for part in (points[:most], points[most:])
    )
    more = Markup("<details><summary>{:,} more</summary>{}</details>").format(
        len(points) - most, rest
    )
    html(
        Markup('<div class="h-list">{}{}{}</div>').format(
            title, first, more if len(points) > most else ""
        )
    )


def fitted(texts: Iterable[str], width: int) -> list[str]:
    """Return texts that fit a column of so many pixels, on one line; a shortened one says so."""
    most = int((width - _PADDING_PX) / _CHARACTER_PX)
    return [formats.shortened(text, most) for text in texts]


def table(found: Table, *, label: str, bars: Mapping[str, Sequence[float]] | None = None) -> None:
    """Show the cells of a table.

    Args:
        found: cells as text.
        label: what the table holds, for those who do not see it.
        bars: of a column, the share of each cell that is filled, from 0 to 1.
    """
    if found.rows:
        html(table_markup(found, label=label, bars=bars or {}))


def table_markup(
    found: Table, *, label: str, bars: Mapping[str, Sequence[float]] | None = None
) -> Markup:
    """Return the cells of a table as markup.

    What stands in brackets goes below its number where a window is too narrow for both.
    """
    kinds = ["number" if found.is_number(column) else "" for column in found.columns]
    filled = [(bars or {}).get(column, ()) for column in found.columns]
    head = Markup("").join(
        Markup('<th scope="col" class="{}">{}</th>').format(kind, column)
        for kind, column in zip(kinds, found.columns, strict=True)
    )
    rows = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup('<td class="{} {}"{}><div>{}</div></td>').format(
                    kind,
                    _SHADES.get(cell[:1], ""),
                    Markup(' style="--share: {:.1%}"').format(shares[place]) if shares else "",
                    cell.replace(" [", "\n[").replace(" (", "\n(") if kind else cell,
                )
                for kind, shares, cell in zip(kinds, filled, row, strict=True)
            )
        )
        for place, row in enumerate(found.rows)
    )
    return Markup(
        '<div class="h-table" tabindex="0" role="region" aria-label="{}"><table><thead><tr>{}</tr>'
        "</thead><tbody>{}</tbody></table></div>"
    ).format(label, head, rows)


def plot(found: Plot) -> None:
    """Show a figure with its title, and its caption in words."""
    _titled(found.title)
    alt = f"{found.title}. {found.caption}"[:_MOST_ALT]
    st.plotly_chart(found.figure, theme=None, key=found.key, config=_CONFIG, alt=alt)
    note(found.caption)


def selectable(found: Plot, *, modes: Sequence[SelectionMode]) -> list[int]:
    """Show a figure and return the customdata of the points that the reader selected.

    Args:
        found: with the row of its query as customdata of every point.
        modes: how points can be selected.
    """
    _titled(found.title)
    state = st.plotly_chart(
        found.figure,
        theme=None,
        key=found.key,
        on_select="rerun",
        selection_mode=list(modes),
        config=_CONFIG if list(modes) == ["points"] else _SELECTING,
        alt=f"{found.title}. {found.caption}"[:_MOST_ALT],
    )
    note(found.caption)
    points = state["selection"]["points"] if state else []
    return [row for point in points if (row := _row(point.get("customdata"))) is not None]


def _row(customdata: Any) -> int | None:
    """Return the one number of a point; plotly gives it alone, or in a list or a mapping."""
    if isinstance(customdata, Mapping):
        customdata = next(iter(customdata.values()), None)
    if isinstance(customdata, Sequence) and not isinstance(customdata, str):
        customdata = customdata[0] if customdata else None
    return int(customdata) if isinstance(customdata, int | float) else None


def _titled(title: str) -> None:
    html(Markup('<h3 class="h-figure">{}</h3>').format(title))
