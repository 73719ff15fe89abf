"""LaTeX: tables for a paper, with booktabs and amssymb."""

from __future__ import annotations

import re

from reports import tables

PREAMBLE = "% \\usepackage{booktabs,amssymb}"
_SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "\u00a0": "~",
    "\u2212": "$-$",
    "\u2013": "--",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "└": r"$\llcorner$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "◆": r"$\blacklozenge$",
    "●": r"$\bullet$",
}
_SIGN = re.compile("|".join(map(re.escape, _SIGNS)))


def drawn(table: tables.Table, *, caption: str) -> str:
    """Return a table with its caption; texts of the user stay plain text."""
    sides = "".join("r" if table.is_number(column) else "l" for column in table.columns)
    rows = [r" & ".join(map(plain, row)) + r" \\" for row in (table.columns, *table.rows)]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{plain(caption)}}}",
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        rows[0],
        r"\midrule",
        *rows[1:],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def plain(text: str) -> str:
    r"""Return text that LaTeX sets as it is.

    >>> plain("a_b: 5 % < 1")
    'a\\_b: 5 \\% $<$ 1'
    """
    one_line = re.sub(r"\s*[\r\n]+\s*", " ", text)
    return _SIGN.sub(lambda found: _SIGNS[found[0]], one_line)
