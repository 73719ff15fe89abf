"""Markdown: a summary for a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from harness.errors import inert
from harness.results.values import CollectionResult, Costs, Results
from reports import judging_view, tables, wording
from reports.stored import StoredJudging

# What would be read as markup: "a_b", "x * y" and "p<0.001" are not.
_MARKUP = re.compile(r"\\(?=[!-/:-@\[-`{-~])|[`~|]|\*(?! )|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])")
_HTML = re.compile(r"^>|<(?=[A-Za-z/!?])|&(?=#|[A-Za-z][A-Za-z0-9]*;)")


def render(
    results: Results, costs: Costs, *, verdicts: Sequence[str] = (), decision: str = ""
) -> str:
    """Return what a run found as GitHub-flavoured Markdown; texts of the user stay plain text.

    Args:
        results: of a run.
        costs: measured, may be empty.
        verdicts: sentences of a decision, of gates and of a diagnosis, where there are any.
        decision: what stands below the sentence of the decision, as Markdown.
    """
    lines = [f"## {plain(results.question or results.suite)}"]
    lines += [f"**Failed: {plain(sentence)}**" for sentence in results.failed]
    sentences = [f"**{plain(verdict)}**" for verdict in verdicts]
    lines += [*sentences[:1], decision, *sentences[1:]] if decision else sentences
    for collection in results.collections:
        if collection.cut_otherwise is not None:
            continue
        lines += _collection(results, costs, collection, headline=not decision)
    together = tables.overall(results)
    if together.rows:
        lines += [f"### All collections together, in {results.metrics[0]}", drawn(together)]
    chunks = tables.chunk_sizes(results, costs)
    if chunks.rows:
        lines += ["### Chunk size", drawn(chunks), plain(tables.CHUNK_KEY)]
    scored = tables.tasks(results)
    if scored.rows:
        lines += [f"### {wording.TASKS}", drawn(scored), wording.TASKS_NOTE]
    trained = [f"- {plain(sentence)}" for sentence in wording.training(results)]
    lines += ["### Trained candidates", "\n".join(trained)] if trained else []
    found = [f"- {plain(warning)}" for warning in wording.warnings(results)[len(results.failed) :]]
    lines += ["### Warnings", "\n".join(found)] if found else []
    lines.append(f"<sub>{wording.KEY}. {plain(wording.legend(results))}</sub>")
    return "\n\n".join(lines) + "\n"


def render_judged(stored: StoredJudging, *, verdicts: Sequence[str], decision: str = "") -> str:
    """Return what grades show of what was judged before it was run, as `render` does."""
    sentences = [f"**{plain(verdict)}**" for verdict in verdicts]
    lines = [f"## {plain(stored.title)}"]
    lines += [*sentences[:1], decision, *sentences[1:]] if decision else sentences
    if stored.judging.differences:
        lines += [f"### {judging_view.TITLE}", drawn(judging_view.differences(stored.judging))]
        lines += [judging_view.NOTE]
    lines.append(f"<sub>{plain(judging_view.without_scores(stored.judging))}</sub>")
    return "\n\n".join(lines) + "\n"


def _collection(
    results: Results, costs: Costs, collection: CollectionResult, *, headline: bool
) -> Iterator[str]:
    name, (deciding, *others) = collection.name, results.metrics
    yield f"### {plain(name)}"
    if headline:  # of the scores alone, which a decision replaces
        yield plain(wording.headline(results, name))
    yield f"{plain(wording.described(results, collection))}."
    scored = (tables.CANDIDATE, tables.interval_head(deciding))
    compared = (tables.DIFFERENCE, tables.P)
    costly = (tables.LATENCY, tables.BYTES)
    rows = tables.candidates(results, costs, name)
    yield drawn(rows.only(*scored, *compared, *others, *costly))
    yield from _notes(wording.inconclusive(results, name, role="baseline", with_count=headline))
    yield from _notes(wording.timings(costs, name))
    edges = tables.edges(results, name)
    if edges.rows:
        yield f"**What each change did to {deciding}**"
        yield drawn(edges.only(*(column for column in edges.columns if column != tables.WINS)))
        yield from _notes(wording.inconclusive(results, name, role="parent", with_count=headline))


def _notes(sentences: list[str]) -> Iterator[str]:
    if sentences:
        yield "\n".join(f"- ● {plain(sentence)}" for sentence in sentences)


def drawn(table: tables.Table) -> str:
    """Return a table; texts of the user stay plain text."""
    rule = ["---:" if table.is_number(column) else "---" for column in table.columns]
    lines = [[plain(tables.SHORT.get(column, column)) for column in table.columns], rule]
    lines += [[plain(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    r"""Return text on one line that Markdown shows as it is.

    >>> print(plain("a|b_c *d* p<0.001 <script> a & b &lt;"))
    a\|b_c \*d* p<0.001 &lt;script> a & b &amp;lt;
    """
    one_line = inert(re.sub(r"[\r\n\t]+", " ", text))
    marked = _MARKUP.sub(lambda found: f"\\{found[0]}", one_line)
    return _HTML.sub(lambda found: escape(found[0]), marked)
