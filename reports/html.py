"""HTML: one self-contained page that works offline, on paper, in light and in dark."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.results.values import CollectionResult, Costs, Results
from reports import diagnosis_tables, formats, judging_view, plots, reading, tables, why, wording
from reports.plots import Plot
from reports.sections import Section
from reports.stored import StoredJudging
from reports.svg.figure import drawn
from reports.why import Diagnosed

if TYPE_CHECKING:
    from jinja2 import Template
    from plotly.graph_objects import Figure

_FOLDER = Path(__file__).parent
_STYLE = Markup((_FOLDER / "markup.css").read_text("utf-8"))  # noqa: S704 - a file of ours
_NOTHING = Markup("")
_LONG = 30  # characters of a name that needs the room of numbers on one line
_PRINT = """
// Paper shows closed details only if they are opened.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
"""
_DRAW = """
const config = {displayModeBar: false, responsive: true};
const plots = [...document.querySelectorAll("[data-plot]")];
for (const div of plots) {
  const {data, layout} = JSON.parse(div.dataset.plot);
  Plotly.newPlot(div, data, layout, config);
}
// Plotly measures the screen, and paper is narrower.
addEventListener("beforeprint", () => {
  for (const div of plots) {
    // A flow moves to its new places in half a second, which paper does not wait for.
    if (div.data.some(trace => trace.type === "sankey")) div.style.zoom = 680 / div.clientWidth;
    else Plotly.relayout(div, {width: 680});
  }
});
addEventListener("afterprint", () => {
  for (const div of plots) {
    div.style.zoom = "";
    Plotly.relayout(div, {width: null, autosize: true});
  }
});
"""


@dataclass(frozen=True)
class CollectionPart:
    """What the page shows of one collection, in the order of the page."""

    collection: CollectionResult
    described: str
    has_long_names: bool
    candidates: tables.Table
    evidence: tables.Table
    inconclusive: list[str]
    edges: tables.Table
    inconclusive_edges: list[str]
    plots: tuple[Plot, ...]
    tree: tuple[Plot, ...]
    scores: tuple[tuple[str, tables.Table], ...]
    differences: tables.Table
    costs: tables.Table
    measured_on: str


def render(
    results: Results,
    costs: Costs,
    manifest: Mapping[str, object],
    diagnosed: Diagnosed | None = None,
    *,
    verdict: Markup = _NOTHING,
    more: Sequence[Section] = (),
    unreadable: Sequence[str] = (),
    interactive: bool = False,
) -> str:
    """Return the page.

    Names and texts are escaped, and the page's content security policy runs no script but its own
    (by their hashes) and loads nothing from anywhere.

    Args:
        results: of a run.
        costs: measured, may be empty.
        manifest: plain values about the run, which may be nested.
        diagnosed: why candidates fail, where that was looked into.
        verdict: banner of the decision, where there is one.
        more: what other verbs found.
        unreadable: a sentence for every file that the page leaves out.
        interactive: figures can be hovered and zoomed, by plotly's 4.8 MB; else they are drawings,
            which show without a script.
    """
    return _page(
        manifest,
        suite=results.suite,
        title=results.question or results.suite,
        interactive=interactive,
        results=results,
        verdict=verdict,
        more=more,
        headlines=[
            wording.headline(results, found.name)
            for found in results.collections
            if found.role == "target" and found.cut_otherwise is None
        ],
        trained=wording.training(results),
        key=wording.KEY,
        mde=wording.MDE,
        bounds_key=wording.BOUNDS,
        chance=wording.chance(results),
        error_rates=wording.error_rates(results) if results.comparisons else [],
        evidence_key=tables.EVIDENCE_KEY,
        warnings=[*unreadable, *wording.warnings(results)[len(results.failed) :]],
        parts=[
            _part(results, costs, found, with_count=not verdict) for found in results.collections
        ],
        overall=tables.overall(results),
        chunk_sizes=tables.chunk_sizes(results, costs),
        chunk_key=tables.CHUNK_KEY,
        tasks=tables.tasks(results),
        tasks_title=wording.TASKS,
        tasks_note=wording.TASKS_NOTE,
        curves=list(plots.learning_curves(results)),
        collections=tables.collections(results),
        cuts=tables.cuts(results),
        prompts=tables.prompts(results),
        diagnosis=diagnosed.diagnosis if diagnosed else None,
        failing=why.failing(diagnosed, results) if diagnosed else [],
        doubts=why.doubts(diagnosed) if diagnosed else [],
        undiagnosed=diagnosed.missing if diagnosed else "",
        stages_key=diagnosis_tables.STAGES_KEY,
        findings_key=diagnosis_tables.FINDINGS_KEY,
        clusters_key=diagnosis_tables.CLUSTERS_KEY,
        no_reason=diagnosis_tables.NO_REMEDY,
    )


def render_judged(
    stored: StoredJudging, *, verdict: Markup = _NOTHING, more: Sequence[Section] = ()
) -> str:
    """Return the page of what was judged before it was run, which has estimates and no scores.

    Args:
        stored: what verbs have found.
        verdict: banner of the decision, where there is one.
        more: what the grades show, and gates.
    """
    return _page(
        stored.manifest,
        suite=stored.suite,
        title=stored.title,
        interactive=False,
        results=None,
        verdict=verdict,
        more=more,
        headlines=stored.judging.sentences,
        warnings=[judging_view.without_scores(stored.judging), *stored.unreadable],
    )


def _page(
    manifest: Mapping[str, object], *, suite: str, title: str, interactive: bool, **parts: object
) -> str:
    scripts = [_PRINT]
    if interactive:
        from plotly.offline import get_plotlyjs

        scripts += [get_plotlyjs(), _DRAW]
    return template(interactive=interactive).render(
        suite=suite,
        title=title,
        style=_STYLE,
        environment=_environment(manifest),
        scripts=scripts,
        hashes=" ".join(
            f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts
        ),
        **parts,
    )


@cache
def template(*, interactive: bool) -> Template:
    """Return the template of the page, which takes a while to compile."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = _for_plotly if interactive else _drawing
    return environment.get_template("report.html")


def _part(
    results: Results, costs: Costs, collection: CollectionResult, *, with_count: bool
) -> CollectionPart:
    name = collection.name
    measured, measured_on = tables.measured(results, costs, name), ""
    if measured.rows:
        measured, measured_on = measured.without_same("queries timed", "timed on", "encoded on")
    return CollectionPart(
        collection=collection,
        described=wording.described(results, collection),
        has_long_names=any(len(candidate.name) > _LONG for candidate in results.candidates),
        candidates=tables.candidates(results, costs, name),
        evidence=tables.evidence(results, name),
        inconclusive=[
            *wording.inconclusive(results, name, role="baseline", with_count=with_count),
            *wording.timings(costs, name),
        ],
        edges=tables.edges(results, name),
        inconclusive_edges=wording.inconclusive(
            results, name, role="parent", with_count=with_count
        ),
        plots=tuple(plots.overview(results, costs, name)),
        tree=tuple(plots.tree(results, name)),
        scores=tuple(
            (family[0].partition("@")[0], tables.scores(results, name, family))
            for family in reading.metric_families(results)
        ),
        differences=tables.differences(results, name),
        costs=measured,
        measured_on=measured_on,
    )


def _environment(manifest: Mapping[str, object]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return groups of (name, [(key, value)]); what is not nested comes first, without a name."""
    groups: dict[str, list[tuple[str, str]]] = {"": []}
    for key, value in manifest.items():
        if key in {"files", "file"}:  # where the folder and the suite lie: of no use to a reader
            continue
        if key == "said" and isinstance(value, Mapping):
            shown = {"name", "question", "seed"}  # above, or in the title
            said = {inner: found for inner, found in value.items() if inner not in shown}
            groups["suite, as written"] = list(_flat(said))
        elif isinstance(value, Mapping):
            groups[str(key)] = list(_flat(value))
        else:
            groups[""].append((str(key), _text(value)))
    return [(name, pairs) for name, pairs in groups.items() if pairs]


def _flat(nested: Mapping[str, object], within: str = "") -> Iterator[tuple[str, str]]:
    """Yield what nested tables hold, each value with its path."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{within}{key}: ")
        else:
            yield f"{within}{key}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return formats.UNKNOWN if value is None else str(value)


def _drawing(figure: Figure) -> Markup:
    return Markup(drawn(figure))  # noqa: S704 - its texts are escaped


def _for_plotly(figure: Figure) -> Markup:
    """Return a figure that is drawn without WebGL, which is missing in print and in many viewers.

    No text can hold what is replaced: quotes inside of texts are escaped.
    """
    found = str(figure.to_json()).replace('"type":"scattergl"', '"type":"scatter"')
    return Markup('<div data-plot="{}"></div>').format(found)
