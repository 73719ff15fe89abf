"""The plan as a terminal shows it: candidates, stages, what is left, and what a training did."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from harness.collection import Collection
from harness.environment import vector_memory
from harness.errors import about, counted
from harness.models.feed import expected_feed
from harness.models.own import Code
from harness.models.prompts import PLACE
from harness.plan.plan import Plan
from harness.progress import duration
from harness.providers.embedding import Embedder
from harness.providers.table import money
from harness.retrieval.precision import choices
from harness.retrieval.remote import RemoteEncode
from harness.retrieval.remote_reranking import RemoteRescore
from harness.retrieval.retriever import AskRetriever
from harness.runs.context import document_tokens
from harness.stage import Stage, Work
from harness.training.finetune import Train
from harness.training.reranker import TrainReranker
from reports import formats

if TYPE_CHECKING:
    from harness.cluster.forecast import ClusterForecast

Left = list[tuple[Stage, Work]]

_FASTEST = 4  # times the modest rate that `operations_per_second` guesses, on an idle machine
_NEARLY = 1.25  # an estimate whose ends differ by less is one number
_SECONDS_TO_LOAD, _SECONDS_TO_COMPARE, _SECONDS_TO_REPORT = 3.0, 0.2, 3.0


def render(plan: Plan) -> RenderableType:
    """Return the tree of candidates, a table of stages, and the totals in a sentence."""
    realism: Iterable[str] = ()
    if plan.planner.asks:
        from harness.results.training import realism_in_words

        realism = realism_in_words(plan)
    left = plan.left()
    return Group(
        _tree(plan),
        Text(),
        _collections(plan),
        Text(),
        _stages(plan, left),
        Text(),
        *(Text(f"Warning: {warning}") for warning in plan.planner.warnings),
        *(Text(line) for line in realism),
        *(Text(f"Texts of {name}: {way}.") for name, way in _feeds(plan).items()),
        Text(_memory()),
        *(Text(line) for line in choices(plan.stages, plan.store)),
        *(Text(f"Price of {line}.") for line in _prices(plan)),
        Text(in_a_sentence(plan, left)),
        *(Text(line) for line in _judging(plan)),
    )


def _judging(plan: Plan) -> Iterator[str]:
    """Yield where it is said what a model that grades costs: its pairs follow from the runs."""
    spec = plan.suite.judging
    if spec is not None and spec.language_model is not None:
        model = spec.language_model.model
        yield f"{model} of [judging] is asked by harness judge alone; --dry-run says for how much."


def on_cluster(found: ClusterForecast) -> RenderableType:
    """Return what the workers of a cluster do: stages, parts, bytes and time, and the sums."""
    shares = found.shares
    table = Table(box=None, pad_edge=False)
    for name in ("stage on workers", "parts", "from the store", "to the store", "time"):
        table.add_column(name, justify="left" if name == "stage on workers" else "right")
    for each in shares:
        sizes = (_size(size) for size in (each.read, each.written))
        time = formats.UNKNOWN
        if each.seconds is not None:
            time = duration(each.seconds) if each.seconds >= 1 else "<1 s"
        table.add_row(Text(each.label), f"{each.parts:,}", *sizes, time)
    read, written = (sum(getattr(e, way) or 0 for e in shares) for way in ("read", "written"))
    price = "" if found.usd is None else f", {money(found.usd)} for the workers"
    return Group(
        table,
        Text(
            f"{counted(found.workers, 'worker')}: {sum(each.parts for each in shares):,} parts of "
            f"{counted(len(shares), 'stage')}; {counted(found.stay, 'stage')} stay with the driver."
        ),
        Text(
            f"At most {formats.size(read)} are read from the store and {formats.size(written)} "
            f"written to it; {formats.size(found.sent)} are sent to each machine once."
        ),
        Text(
            f"At most {formats.size(found.worker_bytes)} of memory for each worker and "
            f"{formats.size(found.driver_bytes)} for the driver, apart from files that are mapped."
        ),
        Text(
            f"{duration_on(found)}, at guessed or earlier rates, if each worker has cores or a "
            f"GPU of its own{price}."
        ),
    )


def duration_on(found: ClusterForecast) -> str:
    """Return how long what is left takes on a cluster."""
    return (
        f"About {duration(found.seconds)} on {counted(found.workers, 'worker')}, of which "
        f"{duration(found.start)} to start them"
    )


def _size(size: int | None) -> str:
    return formats.UNKNOWN if size is None else formats.size(size)


def as_json(plan: Plan, cluster: ClusterForecast | None = None) -> dict[str, Any]:
    """Return the same for machines."""
    left = {id(stage): work for stage, work in plan.left()}
    return {
        "suite": plan.suite.name,
        "device": plan.device,
        "candidates": {
            name: {
                "kind": spec.word,
                "summary": spec.summary,
                "parents": list(spec.parents),
                "prompts": _prompts(plan, name),
            }
            for name, spec in plan.suite.candidates.items()
        },
        "stages": [
            {
                "label": stage.label,
                "key": stage.key(plan.store),
                "cached": id(stage) not in left,
                **left.get(id(stage), Work())._asdict(),
            }
            for stage in plan.stages
        ],
        "texts": sum(work.texts for work in left.values()),
        "pairs": sum(work.pairs for work in left.values()),
        "requests": sum(work.requests for work in left.values()),
        "tokens": sum(work.tokens for work in left.values()),
        "usd": sum(work.usd for work in left.values()),
        "warnings": plan.planner.warnings,
        "dtypes": list(choices(plan.stages, plan.store)),
        "feeds": _feeds(plan),
        "vector_memory_bytes": vector_memory(),
        **({} if cluster is None else {"cluster": _cluster(cluster)}),
    }


def _cluster(found: ClusterForecast) -> dict[str, Any]:
    return {**found._asdict(), "shares": [each._asdict() for each in found.shares]}


def in_a_sentence(plan: Plan, left: Left, planned: str = "") -> str:
    """Return what is left to do and roughly how long it takes: as planned, else in this process."""
    if not left:
        return (
            f"All {counted(len(plan.stages), 'stage')} cached: nothing to encode, train or score."
        )
    texts = sum(work.texts for _, work in left)
    pairs = sum(work.pairs for _, work in left)
    cached = len(plan.stages) - len(left)
    counts = f"{counted(texts, 'text')} to encode" + (
        f", at most {counted(pairs, 'pair')} to score" if pairs else ""
    )
    retrievers = sum(work.requests for stage, work in left if isinstance(stage, AskRetriever))
    counts += f", {counted(retrievers, 'query')} to send to retrievers" if retrievers else ""
    others = [work for stage, work in left if not isinstance(stage, AskRetriever)]
    for is_provider, whom in ((False, "a language model"), (True, "providers")):
        asked = [work for work in others if bool(work.texts or work.pairs) == is_provider]
        requests = sum(work.requests for work in asked)
        tokens = sum(work.tokens for work in asked)
        usd = sum(work.usd for work in asked)
        if requests:
            counts += f", {asked_in_words(Work(requests=requests, tokens=tokens, usd=usd), whom)}"
    return (
        f"{len(left)} of {counted(len(plan.stages), 'stage')} to run ({cached} cached): {counts}. "
        f"{planned or duration_of(plan, left)}."
    )


def asked_in_words(work: Work, whom: str) -> str:
    """Return how many requests are sent, and what they cost.

    >>> asked_in_words(Work(requests=2000, tokens=300_000, usd=0.3), "a language model")
    '2,000 requests to a language model (about 300,000 tokens, at most 0.3 USD)'
    """
    most = f", at most {money(work.usd)}" if work.usd else ""
    tokens = about(work.tokens)
    return f"{work.requests:,} requests to {whom} (about {tokens} tokens{most})"


def grading_in_words(work: Work, pairs: int, who: str) -> str:
    """Return what a model has left to grade of some pairs, and roughly how long it takes.

    >>> grading_in_words(Work(requests=9, tokens=500, seconds=4.5), 12, "m")
    'm grades 12 pairs. Still to do: 9 requests to a language model (about 500 tokens). About 4 s.'
    """
    if not (work.requests or work.pairs):
        return f"{who} grades {pairs:,} pairs: nothing left to do."
    what = f"{work.pairs:,} pairs to score"
    if work.requests:
        what = asked_in_words(work, "a language model")
    takes = (
        "It is not known how long" if work.seconds is None else f"About {duration(work.seconds)}"
    )
    return f"{who} grades {pairs:,} pairs. Still to do: {what}. {takes}."


def duration_of(plan: Plan, left: Left) -> str:
    """Return how long what is left takes: about, at rates that were seen here, else a range."""
    beside = _beside(plan, left)
    seen = sum(work.seconds or 0.0 for _, work in left if work.measured)
    guessed = sum(work.seconds or 0.0 for _, work in left if not work.measured)
    low, high = seen + guessed / _FASTEST + beside, seen + guessed + beside
    open_ended = sum(work.seconds is None for _, work in left)
    more = f", plus {counted(open_ended, 'stage')} of unknown time" if open_ended else ""
    if high < _NEARLY * low:
        basis = f", from earlier runs on this {plan.device}" if seen else ""
        return f"About {duration((low + high) / 2)}{basis}{more}"
    return f"Between {duration(low)} and {duration(high)} on an idle {plan.device}{more}"


def _beside(plan: Plan, left: Left) -> float:
    """Return about the seconds of what no stage counts: loading models, statistics, the report."""
    models = {
        id(getattr(stage, "model", None))
        for stage, work in left
        if (work.texts or work.pairs) and not work.measured  # what was seen holds the loading
    }
    return (
        _SECONDS_TO_LOAD * len(models) + _SECONDS_TO_COMPARE * len(plan.scored) + _SECONDS_TO_REPORT
    )


def _tree(plan: Plan) -> Tree:
    suite = plan.suite
    root = Tree(Text(f"{suite.name}: {suite.question}" if suite.question else suite.name))
    nodes: dict[str, Tree] = {}
    for name in (name for name in plan.planner.order if name in suite.candidates):
        spec = suite.candidates[name]
        line = Text(name, style="bold")
        if name == suite.baseline:
            line.append(" (baseline)")
        line.append(f"  {spec.summary}", style="dim")
        if prompts := _prompts(plan, name):
            listed = ", ".join(f"{role} {text!r}" for role, text in prompts.items())
            line.append(f"  (prompts: {listed})", style="dim")
        above = nodes[spec.parents[0]] if len(spec.parents) == 1 else root
        nodes[name] = above.add(line)
    return root


def _prompts(plan: Plan, name: str) -> dict[str, str] | None:
    """Return what is put before queries and documents; None where a candidate encodes nothing."""
    dense = plan.planner.models.get(name)
    if dense is None or dense.model is None or dense.owner != name:
        return None
    if isinstance(dense.model, Code):  # which puts its own before the texts, if any
        return None
    said = dict(zip(("query", "document"), dense.prompts_with(PLACE), strict=True))
    if isinstance(dense.model, Embedder):
        types = dense.model.input_types._asdict()
        said |= {f"{side} input type": kind for side, kind in types.items() if kind}
    return said


def _prices(plan: Plan) -> Iterator[str]:
    """Yield what providers bill, each model once."""
    asked = [
        *(stage.model for stage in plan.stages if isinstance(stage, RemoteEncode)),
        *(stage.model for stage in plan.stages if isinstance(stage, RemoteRescore)),
    ]
    yield from dict.fromkeys(
        f"{each.name}: {each.bill.sentence}" for each in asked if each.bill.price
    )


def _feeds(plan: Plan) -> dict[str, str]:
    """Return how the texts of each model that encodes become its input; of those at hand."""
    owners = {
        name: dense.model.weights(plan.store)
        for name, dense in plan.planner.models.items()
        if dense.model is not None and dense.owner == name and name in plan.suite.candidates
    }
    return {name: expected_feed(weights) for name, weights in owners.items() if weights is not None}


def _memory() -> str:
    """Return what a search may hold, and what it does with more."""
    size, what = vector_memory() / 2**30, "a quarter of RAM; set HARNESS_MEMORY to change it"
    if os.environ.get("HARNESS_MEMORY", "").strip():
        what = "HARNESS_MEMORY"
    return (
        f"Search holds up to {size:.3g} GB of vectors ({what}) and reads more from disk in blocks."
    )


def _collections(plan: Plan) -> Table:
    table = Table("collection", "split", box=None, pad_edge=False)
    cut = any(each.passages is not None for each in plan.collections.values())
    for column in ("documents", *(["passages"] if cut else []), "queries", "judgements"):
        table.add_column(column, justify="right")
    for name, collection in plan.collections.items():
        table.add_row(
            Text(name),
            Text(collection.split),
            f"{len(collection.documents):,}",
            *([_passages(collection)] if cut else []),
            f"{len(collection.queries):,}",
            f"{len(collection.judgements.grades):,}",
        )
    return table


def _passages(collection: Collection) -> str:
    """Return how many passages are searched, and how long they are together; "" of whole texts."""
    passages = collection.passages
    if passages is None:
        return ""
    tokens = int(document_tokens(passages.texts).sum())
    return f"{len(passages.ids):,} of {passages.cut} ({tokens:,} tokens)"


def _stages(plan: Plan, left: Left) -> Table:
    work = {id(stage): what for stage, what in left}
    table = Table("stage", "state", box=None, pad_edge=False)
    for column in ("texts", "pairs", "about"):
        table.add_column(column, justify="right")
    for stage in plan.stages:
        left_to_do = work.get(id(stage))
        requests = left_to_do.requests if left_to_do is not None else 0
        most = f", at most {money(left_to_do.usd)}" if left_to_do and left_to_do.usd else ""
        asked = f" ({counted(requests, 'request')}{most})" if requests else ""
        table.add_row(Text(stage.label + asked), *_state(left_to_do))
    return table


def _state(work: Work | None) -> tuple[str, ...]:
    if work is None:
        return "cached", "", "", ""
    counts = (f"{count:,}" if count else "" for count in (work.texts, work.pairs))
    if work.seconds is None:
        return ("to do", *counts, "unknown")
    return ("to do", *counts, duration(work.seconds) if work.seconds >= 1 else "")


def training_left(name: str, left: Sequence[tuple[Stage, Work]]) -> str:
    """Return what is left of a training, and roughly how long it takes."""
    if not left:
        return f"'{name}' is already trained."
    known = [work.seconds for _, work in left if work.seconds is not None]
    takes = f", roughly {formats.seconds(sum(known))}" if known else ""
    return f"{counted(len(left), 'stage')} to run to train '{name}'{takes}."


def trained(plan: Plan, stages: Iterable[Stage]) -> Table:
    """Return a row for each training: rows, loss, what dev data said, and the time."""
    table = Table(box=None, pad_edge=False)
    for column in ("training", "seed", "rows", "loss", "dev", "time"):
        table.add_column(column, justify="left" if column == "training" else "right")
    for stage in stages:
        if isinstance(stage, Train | TrainReranker):
            meta, dev = stage.stored(plan.store).meta, formats.UNKNOWN
            if found := meta.get("dev"):
                dev = f"{found['measure']} {found['before']:.3f} → {found['best']:.3f}"
                dev += f" (n={found['n']:,})"
            table.add_row(
                Text(stage.label),
                str(stage.seed),
                f"{meta['rows']:,}",
                f"{meta['loss']:.4f}",
                dev,
                formats.seconds(meta["seconds"]),
            )
    return table
