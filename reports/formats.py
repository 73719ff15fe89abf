"""Numbers as text: one way for each kind of number, in every report."""

from __future__ import annotations

import math
import re

from harness.errors import about
from harness.providers.table import money
from harness.statistics import verdicts

MINUS = "\u2212"
UNKNOWN = "\u2013"  # an en dash; each table says beside it what it stands for
_SPACE = "\u00a0"  # a number keeps its unit on its line
_MILLE = 1000
_ROUNDS_UP = 999.5  # with three digits this is the next unit


def mean(value: float) -> str:
    """Return a score with three decimals.

    >>> mean(0.33109), mean(-0.01)
    ('0.331', '\u22120.010')
    """
    if not math.isfinite(value):
        return UNKNOWN
    return f"{value:.3f}".replace("-0.000", "0.000").replace("-", MINUS)


def signed(value: float) -> str:
    """Return a difference with its sign; what rounds to zero has none.

    >>> signed(0.0411), signed(-0.0221), signed(-0.0001)
    ('+0.041', '\u22120.022', '0.000')
    """
    return verdicts.signed(value) if math.isfinite(value) else UNKNOWN


def with_interval(value: float, low: float, high: float) -> str:
    """Return a score with its 95% interval.

    >>> with_interval(0.331, 0.309, 0.353), with_interval(0.5, -math.inf, math.inf)
    ('0.331 [0.309, 0.353]', '0.500 [unbounded]')
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{mean(value)} [unbounded]"
    return f"{mean(value)} [{mean(low)}, {mean(high)}]"


def difference(value: float, low: float, high: float) -> str:
    """Return a difference with its 95% interval.

    >>> difference(-0.0221, -0.0449, 0.0006)
    '\u22120.022 [\u22120.045, +0.001]'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{signed(value)} [unbounded]"
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def span(low: float, high: float) -> str:
    """Return an interval of differences.

    >>> span(-0.0449, 0.0006)
    '[\u22120.045, +0.001]'
    """
    return f"[{signed(low)}, {signed(high)}]"


def p_value(p: float) -> str:
    """Return p with three decimals.

    >>> p_value(9.999e-05), p_value(0.0568), p_value(1.0)
    ('<0.001', '0.057', '1.000')
    """
    return "<0.001" if p < 0.001 else mean(p)


def p_equals(p: float) -> str:
    """Return p as it stands in a sentence.

    >>> p_equals(9.999e-05), p_equals(0.0568)
    ('p<0.001', 'p=0.057')
    """
    text = p_value(p)
    return f"p{text}" if text.startswith("<") else f"p={text}"


def probability(p: float) -> str:
    """Return a probability with two decimals, and never certainty.

    >>> probability(0.0004), probability(0.5), probability(0.9996)
    ('<0.01', '0.50', '>0.99')
    """
    if p < 0.01:
        return "<0.01"
    return ">0.99" if p > 0.99 else f"{p:.2f}"


def milliseconds(value: float | None) -> str:
    """Return milliseconds without their unit, which stands in the head of the column.

    >>> milliseconds(0.0974), milliseconds(12.34), milliseconds(1234.5), milliseconds(None)
    ('0.10', '12.3', '1,230', '\u2013')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if 0 < value < 0.01:
        return "<0.01"
    if value >= 100:
        return about(value)
    return f"{value:.{2 if value < 10 else 1}f}"


def size(value: float | None) -> str:
    r"""Return bytes; a kB is 1,000 of them, and fewer than 10,000 are counted.

    >>> size(193.7), size(1024.0), size(12288.0)
    ('194\xa0B', '1,024\xa0B', '12.3\xa0kB')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 10_000:
        return f"{value:,.0f}{_SPACE}B"
    number, unit = _scaled(value, ("", "k", "M", "G", "T"))
    return f"{number}{_SPACE}{unit}B"


def count(value: int | None) -> str:
    """Return a whole number.

    >>> count(3199), count(None)
    ('3,199', '\u2013')
    """
    return UNKNOWN if value is None else f"{value:,}"


def parameters(value: int | None) -> str:
    """Return a number of weights with three digits.

    >>> parameters(22_713_216), parameters(0), parameters(999_900_000)
    ('22.7M', '0', '1B')
    """
    return UNKNOWN if value is None else "".join(_scaled(value, ("", "k", "M", "B", "T")))


def usd(value: float | None) -> str:
    """Return an amount of money.

    >>> usd(1234.5), usd(None) == UNKNOWN
    ('1,234.50 USD', True)
    """
    return UNKNOWN if value is None else money(value)


def rate(value: float | None) -> str:
    """Return a throughput with three digits.

    >>> rate(243292.3), rate(1640.1), rate(7.123)
    ('243,000', '1,640', '7.12')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def seconds(value: float | None) -> str:
    r"""Return a duration in the unit that people would use.

    >>> seconds(5.34), seconds(90.0), seconds(7200.0)
    ('5.3\xa0s', '1.5\xa0min', '2.0\xa0h')
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    for unit, length in (("h", 3600), ("min", 60)):
        if value >= length:
            return f"{value / length:.1f}{_SPACE}{unit}"
    return f"{value:.1f}{_SPACE}s"


def share(value: float) -> str:
    r"""Return a share as a percentage.

    >>> share(0.0412), share(0.0), share(0.0002), share(1.0)
    ('4.1%', '0%', '<0.1%', '100%')
    """
    if not math.isfinite(value):
        return UNKNOWN
    if 0 < value < 0.001:
        return "<0.1%"
    decimals = 0 if value in {0, 1} else 1
    return f"{100 * value:.{decimals}f}%"


def broken(text: str, length: int) -> list[str]:
    """Return text as lines of at most `length`, broken between words.

    A word that is longer than a line is broken behind what joins its parts.

    >>> broken("sentence-transformers/all-MiniLM-L6-v2", 22)
    ['sentence-transformers/', 'all-MiniLM-L6-v2']
    """
    lines = [""]
    for word in text.split():
        is_long = len(word) > length
        parts = re.findall(rf"[^/_+-]{{1,{length}}}[/_+-]?|.", word) if is_long else [word]
        for number, part in enumerate(parts):
            space = " " if lines[-1] and not number else ""
            if len(lines[-1]) + len(space) + len(part) > length:
                lines.append(part)
            else:
                lines[-1] += space + part
    return [line.strip() for line in lines if line.strip()] or [""]


def shortened(text: str, length: int) -> str:
    r"""Return text on one line, cut at `length` with a sign that there is more.

    >>> shortened("What is\n(are) Glaucoma?", 12)
    'What is (ar\u2026'
    """
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}\u2026"


def _scaled(value: float, units: tuple[str, ...]) -> tuple[str, str]:
    place = 0
    while value >= _ROUNDS_UP and place < len(units) - 1:
        value /= _MILLE
        place += 1
    return f"{value:.3g}", units[place]
