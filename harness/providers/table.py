"""Table: the providers of embeddings and rerankings, each an entry; a model's facts below it.

Limits and shapes are those of the providers' references, read in 2026-11. A model that is not
listed is asked all the same: what is not known of it is left to the server, or given in the suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

PRICED = "2026-11"

# What is billed, and for how many of them a price is told.
BilledUnit = Literal["tokens", "searches"]
PER: Mapping[BilledUnit, int] = {"tokens": 1_000_000, "searches": 1_000}


class PerSide(NamedTuple):
    """Something of queries and of documents; "" sends nothing."""

    query: str = ""
    document: str = ""


NOTHING = PerSide()


@dataclass(frozen=True)
class ServedFacts:
    """What is known of a model.

    Attributes:
        full_width: of its vectors; None where it is not known.
        width: that is used unless the suite says otherwise; None takes the full one.
        widths: to which its vectors may be cut, since it was trained for them (Matryoshka).
        text_tokens: that it reads of one text.
        request_tokens: of one request at most; None takes the provider's.
        input_types: that the provider documents; None takes the provider's.
        prompts: put before the texts.
        price: in USD, of a million tokens or a thousand searches.
        priced: when it was read.
    """

    full_width: int | None = None
    width: int | None = None
    widths: tuple[int, ...] = ()
    text_tokens: int | None = None
    request_tokens: int | None = None
    input_types: PerSide | None = None
    prompts: PerSide = NOTHING
    price: float | None = None
    priced: str = PRICED


class ToEmbed(NamedTuple):
    """A request for vectors; `input_type` "" and `width` None send nothing."""

    model: str
    texts: Sequence[str]
    input_type: str
    width: int | None


class Embedded(NamedTuple):
    """An answer as it is read: vectors, where each belongs (None in order), and what is billed."""

    vectors: Sequence[Any]
    places: Sequence[Any] | None
    tokens: Any


class ToRank(NamedTuple):
    """A request for scores of documents."""

    model: str
    query: str
    documents: Sequence[str]


class RerankAnswer(NamedTuple):
    """An answer as it is read: scores, the document of each, and what is billed."""

    scores: Sequence[Any]
    places: Sequence[Any]
    tokens: Any


@dataclass(frozen=True)
class Embedding:
    """How a provider embeds.

    Attributes:
        path: of a request, with {model}.
        body: of a request.
        read: an answer.
        inputs, tokens: of one request at most.
        input_types: of queries and documents, where models do not say otherwise.
        cuts: the provider cuts a text that is too long, and does not refuse it.
        models: that are known.
    """

    path: str
    body: Callable[[ToEmbed], dict[str, Any]]
    read: Callable[[Any], Embedded]
    inputs: int
    tokens: int
    input_types: PerSide = NOTHING
    cuts: bool = True
    models: Mapping[str, ServedFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class RerankProtocol:
    """How a provider reranks. It cuts what is too long.

    Attributes:
        path, body, read: as of `Embedding`.
        documents, tokens: of one request at most; the query counts once for each document.
        unit: that is billed; a search is one request.
        models: that are known.
    """

    path: str
    body: Callable[[ToRank], dict[str, Any]]
    read: Callable[[Any], RerankAnswer]
    documents: int
    tokens: int
    unit: BilledUnit = "tokens"
    models: Mapping[str, ServedFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class Provider:
    """A provider.

    Attributes:
        url: before the path of a request, unless the suite gives a `base_url`.
        key_variable: of the environment.
        embedding, reranking: what it does.
        header: that holds the key, and how.
        reranks_at_home: it has no rerankers of its own, but servers that speak its protocol do.
    """

    url: str
    key_variable: str
    embedding: Embedding | None = None
    reranking: RerankProtocol | None = None
    header: tuple[str, str] = ("authorization", "Bearer {key}")
    reranks_at_home: bool = False


def named(model: str) -> tuple[str, str]:
    """Return the provider and its model of a reference; "" for no provider.

    >>> named("openai:text-embedding-3-small"), named("BAAI/bge-m3")
    (('openai', 'text-embedding-3-small'), ('', 'BAAI/bge-m3'))
    """
    name, _, rest = model.partition(":")
    return (name, rest) if name in PROVIDERS else ("", model)


def money(amount: float, currency: str = "USD") -> str:
    """Return an amount in words: cents from one dollar on, two digits below.

    >>> money(1234.5), money(0.0123), money(0.0000061)
    ('1,234.50 USD', '0.012 USD', '0.0000061 USD')
    """
    small = np.format_float_positional(amount, precision=2, fractional=False, trim="-")
    return f"{amount:,.2f} {currency}" if amount >= 1 else f"{small} {currency}"


def _given(**values: Any) -> dict[str, Any]:
    """Return what is not None and not "", as a server expects it."""
    return {name: value for name, value in values.items() if value not in (None, "")}


def _embed_openai(ask: ToEmbed) -> dict[str, Any]:
    body = _given(model=ask.model, input=ask.texts, dimensions=ask.width)
    return {**body, "encoding_format": "float"}


def _embed_cohere(ask: ToEmbed) -> dict[str, Any]:
    return _given(
        model=ask.model,
        texts=ask.texts,
        input_type=ask.input_type,
        output_dimension=ask.width,
        embedding_types=["float"],
        truncate="END",
    )


def _embed_voyage(ask: ToEmbed) -> dict[str, Any]:
    return _given(
        model=ask.model,
        input=ask.texts,
        input_type=ask.input_type,
        output_dimension=ask.width,
        truncation=True,
    )


def _embed_gemini(ask: ToEmbed) -> dict[str, Any]:
    name = f"models/{ask.model}"
    same = _given(model=name, taskType=ask.input_type, outputDimensionality=ask.width)
    return {"requests": [{**same, "content": {"parts": [{"text": text}]}} for text in ask.texts]}


def _embed_jina(ask: ToEmbed) -> dict[str, Any]:
    return _given(
        model=ask.model,
        input=ask.texts,
        task=ask.input_type,
        dimensions=ask.width,
        embedding_type="float",
        truncate=True,
    )


def _read_data(found: Any) -> Embedded:
    """Read OpenAI's shape, which Voyage and Jina share."""
    items = found["data"]
    return Embedded(
        [each["embedding"] for each in items],
        [each["index"] for each in items],
        _usage(found, "usage", ("total_tokens", "prompt_tokens")),
    )


def _read_cohere(found: Any) -> Embedded:
    billed = found.get("meta") or {}
    return Embedded(
        found["embeddings"]["float"], None, _usage(billed, "billed_units", ("input_tokens",))
    )


def _read_gemini(found: Any) -> Embedded:
    vectors = [each["values"] for each in found["embeddings"]]
    return Embedded(vectors, None, _usage(found, "usageMetadata", ("promptTokenCount",)))


def _rank_cohere(ask: ToRank) -> dict[str, Any]:
    return _given(
        model=ask.model, query=ask.query, documents=ask.documents, top_n=len(ask.documents)
    )


def _rank_voyage(ask: ToRank) -> dict[str, Any]:
    return _given(model=ask.model, query=ask.query, documents=ask.documents, truncation=True)


def _rank_jina(ask: ToRank) -> dict[str, Any]:
    return {**_rank_cohere(ask), "return_documents": False}


def _read_ranks(found: Any) -> RerankAnswer:
    """Read Cohere's and Jina's `results`, or Voyage's `data`."""
    items = found["results"] if "results" in found else found["data"]
    return RerankAnswer(
        [each["relevance_score"] for each in items],
        [each["index"] for each in items],
        _usage(found, "usage", ("total_tokens",)),
    )


def _usage(found: Any, key: str, names: Sequence[str]) -> Any:
    """Return what is billed, or None where the server does not say."""
    usage = found.get(key) or {}
    return next((usage[name] for name in names if usage.get(name) is not None), None)


def _voyage(price: float | None, *, request_tokens: int) -> ServedFacts:
    return ServedFacts(2048, 1024, (256, 512, 1024, 2048), 32_000, request_tokens, price=price)


_OPENAI_EMBEDDING = Embedding(
    path="/embeddings",
    body=_embed_openai,
    read=_read_data,
    inputs=2048,
    tokens=300_000,
    cuts=False,
    models={
        "text-embedding-3-small": ServedFacts(
            1536, widths=(256, 512, 768, 1024, 1536), text_tokens=8192, price=0.02
        ),
        "text-embedding-3-large": ServedFacts(
            3072, widths=(256, 512, 1024, 1536, 3072), text_tokens=8192, price=0.13
        ),
        "text-embedding-ada-002": ServedFacts(1536, text_tokens=8192),
    },
)

PROVIDERS: Mapping[str, Provider] = {
    # `base_url` makes it any server of this protocol: vLLM, text-embeddings-inference, Ollama.
    "openai": Provider(
        url="https://api.openai.com/v1",
        key_variable="OPENAI_API_KEY",
        embedding=_OPENAI_EMBEDDING,
        reranking=RerankProtocol(
            path="/rerank", body=_rank_cohere, read=_read_ranks, documents=1000, tokens=1_000_000
        ),
        reranks_at_home=True,
    ),
    "cohere": Provider(
        url="https://api.cohere.com/v2",
        key_variable="COHERE_API_KEY",
        embedding=Embedding(
            path="/embed",
            body=_embed_cohere,
            read=_read_cohere,
            inputs=96,
            tokens=128_000,
            input_types=PerSide("search_query", "search_document"),
            models={
                "embed-v4.0": ServedFacts(
                    1536, widths=(256, 512, 1024, 1536), text_tokens=128_000, price=0.12
                ),
                "embed-english-v3.0": ServedFacts(1024, text_tokens=512),
                "embed-multilingual-v3.0": ServedFacts(1024, text_tokens=512),
                "embed-english-light-v3.0": ServedFacts(384, text_tokens=512),
                "embed-multilingual-light-v3.0": ServedFacts(384, text_tokens=512),
            },
        ),
        reranking=RerankProtocol(
            path="/rerank",
            body=_rank_cohere,
            read=_read_ranks,
            documents=100,  # more are billed as several searches
            tokens=10_000_000,
            unit="searches",
            models={"rerank-v3.5": ServedFacts(text_tokens=4096, price=2.0, priced="2024-12")},
        ),
    ),
    "voyage": Provider(
        url="https://api.voyageai.com/v1",
        key_variable="VOYAGE_API_KEY",
        embedding=Embedding(
            path="/embeddings",
            body=_embed_voyage,
            read=_read_data,
            inputs=1000,
            tokens=120_000,
            input_types=PerSide("query", "document"),
            models={
                "voyage-4-large": _voyage(0.12, request_tokens=120_000),
                "voyage-4": _voyage(0.06, request_tokens=320_000),
                "voyage-4-lite": _voyage(0.02, request_tokens=1_000_000),
                "voyage-3-large": _voyage(None, request_tokens=120_000),
                "voyage-3.5": _voyage(None, request_tokens=320_000),
                "voyage-3.5-lite": _voyage(None, request_tokens=1_000_000),
                "voyage-code-3": _voyage(None, request_tokens=120_000),
            },
        ),
        reranking=RerankProtocol(
            path="/rerank",
            body=_rank_voyage,
            read=_read_ranks,
            documents=1000,
            tokens=300_000,
            models={
                "rerank-2.5": ServedFacts(text_tokens=32_000, price=0.05),
                "rerank-2.5-lite": ServedFacts(text_tokens=32_000),
            },
        ),
    ),
    "gemini": Provider(
        url="https://generativelanguage.googleapis.com/v1beta",
        key_variable="GEMINI_API_KEY",
        header=("x-goog-api-key", "{key}"),
        embedding=Embedding(
            path="/models/{model}:batchEmbedContents",
            body=_embed_gemini,
            read=_read_gemini,
            inputs=100,
            tokens=100_000,
            input_types=PerSide("RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"),
            models={
                "gemini-embedding-001": ServedFacts(
                    3072, widths=(768, 1536, 3072), text_tokens=2048, price=0.15
                ),
                # It ignores the task type; the prompts are those of its documentation.
                "gemini-embedding-2": ServedFacts(
                    3072,
                    widths=(768, 1536, 3072),
                    text_tokens=8192,
                    input_types=NOTHING,
                    prompts=PerSide("task: search result | query: ", "title: none | text: "),
                    price=0.20,
                ),
            },
        ),
    ),
    "jina": Provider(
        url="https://api.jina.ai/v1",
        key_variable="JINA_API_KEY",
        embedding=Embedding(
            path="/embeddings",
            body=_embed_jina,
            read=_read_data,
            inputs=512,
            tokens=100_000,
            input_types=PerSide("retrieval.query", "retrieval.passage"),
            models={
                "jina-embeddings-v3": ServedFacts(
                    1024, widths=(32, 64, 128, 256, 512, 768, 1024), text_tokens=8192
                ),
                "jina-embeddings-v4": ServedFacts(
                    2048, widths=(128, 256, 512, 1024, 2048), text_tokens=32_000
                ),
            },
        ),
        reranking=RerankProtocol(
            path="/rerank", body=_rank_jina, read=_read_ranks, documents=1000, tokens=1_000_000
        ),
    ),
}


def facts_of(models: Mapping[str, ServedFacts], model: str) -> ServedFacts:
    """Return what is known of a model, which may be nothing."""
    return models.get(model, ServedFacts())


def providers_that(do: Literal["embed", "rerank"]) -> Iterator[str]:
    """Yield the names of the providers that embed, or that rerank."""
    for name, each in PROVIDERS.items():
        if (each.embedding if do == "embed" else each.reranking) is not None:
            yield name
