"""Gates as a terminal and a pull request show them; what was stored; what a replay found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

from rich.console import Group, RenderableType
from rich.text import Text

from harness.gates.report import GateReport, GateResult, State
from harness.suite.gates import RULES, Sampled
from reports import formats
from reports.markdown import plain
from reports.tables import Table

if TYPE_CHECKING:
    from harness.gates.baseline import StoredBaseline
    from harness.gates.replay import Rate, Replayed

MARKER = "<!-- harness:gate -->"  # identifies the comment on a pull request
_COLOURS = {
    State.PASS: "blue",
    State.FAIL: "dark_orange3",
    State.ERROR: "dark_orange3",
    State.INCONCLUSIVE: "yellow",
    State.NOT_GATED: "bright_black",
}
# With the word beside it, a shape distinguishes the answers without colour.
STATE_SHAPES = {
    State.PASS: "✓",
    State.FAIL: "✗",
    State.ERROR: "✗",
    State.INCONCLUSIVE: "?",
    State.NOT_GATED: "○",
}
_INTERVALS = (
    "no_worse passes if the lower end, a one-sided 95% bound with one more query that loses all, "
    "lies above minus the margin. It fails if the upper end, of the two-sided 95% interval, lies "
    "below 0."
)
_HEAD = ("verdict", "gate", "collection", "rule", "baseline", "candidate", "difference", "margin")
_REPLAY_HEAD = ("gate", "n", "planted", "fails %", "passes %", "inconclusive %")


def render(report: GateReport) -> RenderableType:
    """Return the verdict and one paragraph for each gate; readable without colour."""
    parts: list[RenderableType] = []
    for finding in report.findings:
        asks = RULES[finding.rule].asks.format(
            asked=finding.asked, limit=f"{finding.limit:g}", n=finding.n
        )
        numbers = ""
        if finding.interval is not None or finding.difference is not None:
            numbers = f"{_interval(finding)} n={finding.n:,}{_mde(finding)}. "
        parts.append(
            Text.assemble(
                (f"{finding.state.upper():<13}", _COLOURS[finding.state]),
                f"{finding.place} on {finding.collection}: {finding.candidate}, {asks}",
            )
        )
        parts.append(Text(f"{'':13}{numbers}{finding.told}"))
    return Group(*parts, Text(), Text(headline(report), style="bold"))


def headline(report: GateReport) -> str:
    """Return the verdict of all gates as one sentence."""
    counted = ", ".join(
        f"{sum(finding.state is state for finding in report.findings)} {state}"
        for state in State
        if any(finding.state is state for finding in report.findings)
    )
    return f"Gates of {report.suite}: {report.state.upper()} ({counted or 'none evaluated'})"


def markdown(report: GateReport) -> str:
    """Return the report as GitHub-flavoured Markdown; texts of the user stay plain text."""
    lines = [f"{MARKER}\n## {plain(headline(report))}"]
    if report.findings:
        rule = " | ".join(["---"] * len(_HEAD))
        rows = [" | ".join(plain(cell) for cell in _row(finding)) for finding in report.findings]
        lines.append("\n".join(f"| {row} |" for row in [" | ".join(_HEAD), rule, *rows]))
    told = [
        f"- **{plain(finding.place)}** on {plain(finding.collection)}, "
        f"{plain(finding.candidate)}: {plain(finding.told)}"
        for finding in report.findings
    ]
    told += [f"- Warning: {plain(warning)}" for warning in report.all_warnings]
    lines += ["\n".join(told)] if told else []
    for finding in report.findings:
        if finding.worst:
            lines.append(_lost(finding))
    lines.append(
        "<sub>Differences are candidate minus stored baseline, paired by query, with the deciding "
        f"interval. {_INTERVALS} MDE: minimum detectable effect of one comparison, the smallest "
        "true difference detected with power 0.80.</sub>"
    )
    return "\n\n".join(lines) + "\n"


def table(report: GateReport) -> Table:
    """Return a row per gate: the verdict with its shape, the rule, and the numbers."""
    columns = (*_HEAD[:3], "candidate", "rule", "baseline", "value now", *_HEAD[6:])
    rows = []
    for each in report.findings:
        verdict, gate, collection, asked, before, value, difference, limit = _row(each)
        shown = f"{STATE_SHAPES[each.state]} {verdict.lower()}"
        place = (gate, collection, each.candidate, asked)
        rows.append((shown, *place, before, value, difference, limit))
    return Table(columns, tuple(rows))


def answers(report: GateReport) -> list[str]:
    """Return a sentence per gate that explains its verdict."""
    several = len({finding.collection for finding in report.findings}) > 1
    return [
        f"{each.place}{f' on {each.collection}' if several else ''}, {each.candidate}: {each.told}"
        for each in report.findings
    ]


def baseline(stored: StoredBaseline) -> RenderableType:
    """Return the facts about a stored baseline."""
    about = stored.about
    lines = [
        f"Baseline of {about.suite}, stored {about.date}",
        f"candidate {about.candidate.name}: {about.candidate.change}",
        f"weights {about.candidate.weights or formats.UNKNOWN}",
    ]
    for name, kept in about.collections.items():
        lines.append(f"{name} ({kept.source}, split {kept.split}): {kept.queries} queries")
        if not kept.judged:
            lines.append("  nothing is judged: gates take the grades of harness judge")
            continue
        for metric in about.metrics:
            spread = stored.spread(name, metric)
            told = "no other candidate" if spread is None else f"{spread:.3f}"
            mean = float(stored.scores[name].values[metric].mean())
            lines.append(f"  {metric} {formats.mean(mean)}, sd of differences {told}")
    if about.history:
        lines.append(f"{len(about.history)} older: {', '.join(h.date for h in about.history)}")
    return Text("\n".join(lines))


def replayed(rows: Sequence[Replayed]) -> RenderableType:
    """Return how often each gate fails, passes and is inconclusive, by the planted difference."""
    from rich.table import Table

    if not rows:
        return Text("Nothing to replay: no gate on a metric has enough queries.")
    table = Table(box=None, pad_edge=False)
    for column in _REPLAY_HEAD:
        table.add_column(column, no_wrap=column != "gate")
    several = len({row.collection for row in rows}) > 1
    for row in rows:
        place = f"{row.gate} [{row.slice}]" if row.slice else row.gate
        place += f" on {row.collection}" if several else ""
        rates = (_rate(row.fails), _rate(row.passes), _rate(row.inconclusive))
        planted = formats.signed(row.planted)
        table.add_row(*map(Text, (place, str(row.n), planted, *rates)))
    donors = sorted({row.donor for row in rows if row.donor})
    said = (
        f"{rows[0].replays} replays each, 95% intervals. Planted: the true difference from the "
        "baseline (no_worse and better; 0 is an A/A test) or from the value (at_least)."
    )
    if donors:
        said += f" Sizes of differences are drawn from {', '.join(donors)}."
    return Group(table, Text(said))


def _interval(finding: GateResult) -> str:
    if finding.interval is None:
        exact = finding.difference is not None
        return formats.signed(finding.difference or 0.0) if exact else formats.UNKNOWN
    low, high = finding.interval
    if finding.difference is not None:
        return formats.difference(finding.difference, low, high)
    return formats.with_interval(finding.value or 0.0, low, high)


def _mde(finding: GateResult) -> str:
    return f", MDE {formats.mean(finding.mde)}" if finding.mde is not None else ""


def _row(finding: GateResult) -> Iterator[str]:
    verdict = str(finding.state) + (" (warn)" if finding.level == "warn" else "")
    yield from (verdict.upper(), finding.place, finding.collection, finding.asked)
    yield formats.UNKNOWN if finding.baseline is None else formats.mean(finding.baseline)
    yield _value(finding)
    relative = finding.difference is not None
    yield f"{_interval(finding)} n={finding.n:,}{_mde(finding)}" if relative else formats.UNKNOWN
    yield f"{finding.limit:,.10g}"


def _value(finding: GateResult) -> str:
    if finding.value is None or not math.isfinite(finding.value):
        return formats.UNKNOWN
    rule = RULES[finding.rule]
    if rule in get_args(Sampled) and not rule.relative:
        return f"{_interval(finding)} n={finding.n:,}"
    return formats.mean(finding.value) if rule.relative else f"{finding.value:,.10g}"


def _lost(finding: GateResult) -> str:
    rows = [
        f"| {plain(q.query)} | {plain(q.text)} | {q.baseline:.3f} | {q.candidate:.3f} |"
        for q in finding.worst
    ]
    head = ["| query | text | baseline | candidate |", "| --- | --- | --- | --- |"]
    table = "\n".join([*head, *rows])
    title = f"Largest losses in {finding.place} on {finding.collection}"
    return f"<details><summary>{plain(title)}</summary>\n\n{table}\n\n</details>"


def _rate(rate: Rate) -> str:
    share, low, high = (100 * each for each in (rate.share, rate.low, rate.high))
    return f"{share:.1f} [{low:.1f}, {high:.1f}]"
