"""Api: a model at a provider, as embedder or reranker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.collection import Collection
from harness.errors import counted
from harness.plan.candidates import Builder, DenseBuilder
from harness.plan.dense import DenseModel
from harness.plan.kinds.rerank import SecondStageBuilder
from harness.providers.embedding import Embedder
from harness.providers.remote import Bill, Remote
from harness.providers.reranking import Reranker
from harness.providers.table import PROVIDERS, BilledUnit, PerSide, money, named
from harness.retrieval.encoding import Encode
from harness.retrieval.remote import RemoteEncode
from harness.retrieval.remote_reranking import RemoteRescore, RemoteScorer
from harness.store import Store
from harness.suite.kinds.api import Api, ApiReranking, Served


class ApiBuilder(DenseBuilder[Api]):
    """An embedder at a provider."""

    def dense(self) -> DenseModel:
        """Return how the provider embeds; what the suite leaves open, the provider documents."""
        spec, facts = self.spec, self.spec.facts
        embedding = PROVIDERS[spec.provider].embedding
        if embedding is None:
            raise TypeError(f"{spec.provider} does not embed")
        documented = embedding.input_types if facts.input_types is None else facts.input_types
        cuts_here = bool(facts.widths)
        embedder = Embedder(
            **_reached(spec, "tokens", offline=self.planner.hub == "refuse"),
            sent_width=facts.full_width if cuts_here else spec.dimensions,
            input_types=_sides(spec.input_types.query, spec.input_types.document, documented),
        )
        width = (spec.dimensions or facts.width) if cuts_here else None
        return DenseModel(
            owner=self.name,
            model=embedder,
            prompts=_sides(spec.prompts.query, spec.prompts.document, facts.prompts),
            max_length=None,
            similarity=spec.similarity,
            dimension=facts.full_width or spec.dimensions,
            width=None if width == facts.full_width else width,
            trained_widths=tuple(spec.matryoshka) or facts.widths,
            arithmetics=("float32",),
            texts=0,
        )

    def problems(self) -> Iterator[str]:
        """Yield why nothing can be asked, and note what is doubtful."""
        planner, dense = self.planner, self.planner.dense(self.name)
        sides = 2 if dense.asked is None else 1  # the first is that of documents
        yield from served_problems(
            self,
            [
                stage
                for place in planner.collections
                for stage in planner.encodes(self.name, place)[:sides]
            ],
        )

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return the model: it fails alike under any name."""
        return f"{self.spec.model} {self.spec.base_url}"


def served_problems(builder: Builder[Any], stages: Sequence[Encode]) -> Iterator[str]:
    """Yield why a provider's model cannot be asked, and note what is doubtful.

    Args:
        builder: of the candidate.
        stages: all that the one model encodes for it.
    """
    planner = builder.planner
    left = usd = 0.0
    for stage in stages:
        if not isinstance(stage, RemoteEncode):
            raise TypeError(f"{stage.label} asks no provider")
        work = stage.work(planner.store)
        left, usd = left + work.texts, usd + work.usd
        planner.warnings += [
            f"'{builder.name}': {text}" for text in _doubts(stage, stage.texts.source)
        ]
        model = stage.model
    if left:
        yield from _key_problems(builder, model)
        _warn_of_money(builder, model, usd)


class ApiRerankBuilder(SecondStageBuilder[ApiReranking]):
    """The parent's top documents in the order of a reranker at a provider."""

    rescoring = RemoteRescore

    def problems(self) -> Iterator[str]:
        """Yield why nothing can be asked, and note what is doubtful."""
        planner = self.planner
        runs = {place: self.run(each) for place, each in planner.collections.items()}
        left = [place for place, run in runs.items() if not run.is_done(planner.store)]
        if not left:
            return
        usd = 0.0
        for place in left:
            scorer, texts = self.scorer(planner.collections[place]), planner.collections[place]
            most = len(texts.queries) * min(self.spec.rerank.depth, len(texts.documents))
            usd += scorer.work_of(most, planner.store).usd
        model = self.scorer(planner.collections[left[0]]).model
        yield from _key_problems(self, model)
        _warn_of_money(self, model, usd)

    def family(self, store: Store) -> str:  # noqa: ARG002
        """Return what orders the documents."""
        return f"reranker {self.spec.rerank.model}"

    def scorer(self, collection: Collection) -> RemoteScorer:
        """Return the provider's reranker."""
        how = self.spec.rerank
        place = (repr(how.model_copy(update={"depth": 1})), collection.name)
        scorers = self.planner.scorers
        if place not in scorers:
            unit = PROVIDERS[how.provider].reranking
            model = Reranker(
                **_reached(
                    how,
                    "tokens" if unit is None else unit.unit,
                    offline=self.planner.hub == "refuse",
                )
            )
            scorers[place] = RemoteScorer(
                name=how.model, model=model, dtype="float32", max_length=None, collection=collection
            )
        found = scorers[place]
        if not isinstance(found, RemoteScorer):
            raise TypeError(f"{how.model} is not at a provider")
        return found


def _reached(spec: Served, unit: BilledUnit, *, offline: bool) -> dict[str, Any]:
    """Return how a model is reached and what it costs, as fields of `Remote`."""
    told = "set in the suite" if spec.price is not None else f"as of {spec.facts.priced}"
    return {
        "provider": spec.provider,
        "model": named(spec.model)[1],
        "base_url": spec.base_url,
        "key_variable": spec.key_named,
        "bill": Bill(spec.costs, unit, told, spec.budget_usd),
        "concurrency": spec.concurrency,
        "timeout_seconds": spec.timeout_seconds,
        "offline": offline,
    }


def _sides(query: str | None, document: str | None, documented: PerSide) -> PerSide:
    return PerSide(
        documented.query if query is None else query,
        documented.document if document is None else document,
    )


def _key_problems(builder: Builder[Any], model: Remote) -> Iterator[str]:
    """Yield why nothing can be asked; a plan alone only notes it."""
    found = model.key_problems()
    if builder.planner.hub == "fetch":
        yield from found
    elif builder.planner.hub == "later":
        builder.planner.warnings += [f"'{builder.name}': {text}" for text in found]


def _warn_of_money(builder: Builder[Any], model: Remote, usd: float) -> None:
    """Note a price that is not known, and a budget that what is left may exceed."""
    bill, warnings = model.bill, builder.planner.warnings
    if bill.price is None:
        warnings.append(
            f"'{builder.name}': the price of '{model.name}' is unknown, and so are its "
            "costs. Set price, in USD per million tokens (Cohere: per thousand searches)."
        )
    if bill.budget_usd is not None and usd > bill.budget_usd:
        warnings.append(
            f"'{builder.name}': the remaining requests cost up to {money(usd)}, more "
            f"than budget_usd = {bill.budget_usd:g}. A run sends no request beyond its budget."
        )


def _doubts(stage: RemoteEncode, collection: str) -> Iterator[str]:
    """Yield how many texts of a side are empty or too long, and what becomes of them."""
    noun = "query" if stage.role == "query" else "document"
    empty, long = stage.counts()
    model = stage.model
    if empty:
        yield (
            f"{counted(empty, noun)} of {collection} "
            f"{'is' if empty == 1 else 'are'} empty; {model.provider} accepts no empty text, so "
            "the vector is all zeros and similar to nothing."
        )
    if long:
        limit = model.facts.text_tokens or 0
        who = "the provider" if model.api.cuts else "the harness, as the provider refuses them,"
        yield (
            f"about {counted(long, noun)} of {collection} exceed the {limit:,} tokens that "
            f"'{model.name}' reads (four bytes per token); {who} truncates them."
        )
