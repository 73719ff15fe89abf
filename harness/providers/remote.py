"""Remote: a model at a provider or at a server of one's own, and what all requests to it share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from harness.errors import ExitCode, HarnessError
from harness.providers.asking import Limits, Spending, Unanswered
from harness.providers.http import ApiKey, Server, open_server
from harness.providers.table import PER, PROVIDERS, BilledUnit, Provider, ServedFacts, money
from harness.stage import Keyed, unkeyed
from harness.store import Store

LONGEST_VECTORS = 128 * 1024 * 1024  # bytes; 256 vectors of 3,072 numbers take a tenth of it
MOST_INPUTS = 256  # of one request: what is on its way when a run is killed is paid again
OWN_INPUTS = 32  # the same of a server of one's own, as text-embeddings-inference takes by default
SECONDS = 1.0  # that a request takes, roughly

_MOST_TOKENS = 10**9  # of one answer; a server that bills more is mistaken


@dataclass(frozen=True)
class Bill:
    """What requests cost.

    Attributes:
        price: in USD, of a million tokens or a thousand searches; None where it is not known.
        unit: what is billed.
        told: where the price is from, such as "2026-11".
        budget_usd: over all runs; None for no limit.
    """

    price: float | None
    unit: BilledUnit
    told: str
    budget_usd: float | None

    def usd(self, *, tokens: float, searches: float) -> float | None:
        """Return the price of tokens or of searches; None where it is not known."""
        count = tokens if self.unit == "tokens" else searches
        return None if self.price is None else count * self.price / PER[self.unit]

    @property
    def sentence(self) -> str:
        """The price in words, or ""."""
        if not self.price:
            return ""
        return f"{self.price:g} USD for {PER[self.unit]:,} {self.unit} ({self.told})"

    def limits(self) -> Limits:
        """Return how many requests or tokens the budget pays for."""
        if self.budget_usd is None or not self.price:
            return Limits(None, None)
        most = math.floor(self.budget_usd / self.price * PER[self.unit])
        return Limits(None, most) if self.unit == "tokens" else Limits(most, None)


@dataclass(frozen=True, eq=False)
class Remote(Keyed):
    """A model that is asked over the network.

    The address is part of the key: two servers may run what they call by one name differently.

    Attributes:
        provider: by its name in `PROVIDERS`.
        model: as the provider names it.
        base_url: of a server of one's own; None takes the provider's.
        key_variable: of the environment; None for a server that asks for no key.
        bill: what it costs.
        concurrency: requests at a time.
        timeout_seconds: of one request.
        offline: never ask.
    """

    provider: str
    model: str
    base_url: str | None
    key_variable: str | None = field(metadata=unkeyed("a key changes no answer"))
    bill: Bill = field(metadata=unkeyed("neither price nor budget changes an answer"))
    concurrency: int = field(metadata=unkeyed("it changes no answer"))
    timeout_seconds: float = field(metadata=unkeyed("it changes no answer"))
    offline: bool = field(metadata=unkeyed("what is stored is the same"))

    @property
    def entry(self) -> Provider:
        """Its provider."""
        return PROVIDERS[self.provider]

    @property
    def facts(self) -> ServedFacts:
        """What is known of it."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """As the suite names it."""
        return f"{self.provider}:{self.model}"

    @property
    def place(self) -> str:
        """Where it runs, for people, in the place of a device."""
        return f"{urlsplit(self.base_url or self.entry.url).netloc.rpartition('@')[2]} (network)"

    def weights(self, store: Store) -> None:
        """Return None: they are not here."""

    def key_problems(self) -> list[str]:
        """Return why no request can be made."""
        return list(ApiKey.read(self.key_variable).problems())

    def refuse_offline(self, label: str, left: str) -> None:
        """Raise if nobody may be asked.

        Raises:
            HarnessError: exit code 4.
        """
        if self.offline:
            raise _failed(
                f"{label}: {left}, and no requests are sent offline. "
                "Run without --offline (in Python: offline=False)."
            )

    @contextmanager
    def served(self, label: str, *, keeps_open: bool = False) -> Iterator[Server]:
        """Give the server while the block runs.

        Raises:
            HarnessError: exit code 2, the environment holds no key.
        """
        key = ApiKey.read(self.key_variable)
        header, pattern = self.entry.header
        with open_server(
            self.base_url or self.entry.url,
            who=f"{label}: {self.provider}",
            key=key,
            headers={header: pattern.format(key=key.value)} if key.value else {},
            timeout_seconds=self.timeout_seconds,
            longest_body=LONGEST_VECTORS,
            keeps_open=keeps_open,
        ) as server:
            yield server

    def budget(self, label: str, *, spent: Spent, needed: Spent) -> Spending:
        """Return what may still be spent.

        Args:
            label: begins the message.
            spent: over all runs.
            needed: for what is left, at most.

        Raises:
            HarnessError: exit code 4, what is left costs more; nothing is spent in vain.
        """
        before, more = self.usd(spent), self.usd(needed)
        limit = self.bill.budget_usd
        if limit is not None and more is not None and (before or 0.0) + more > limit:
            raise _failed(
                f"{label}: the rest costs up to {money(more)}, and {money(before or 0.0)} of "
                f"budget_usd = {limit:g} are spent. Raise budget_usd, or use fewer texts."
            )
        return Spending(self.bill.limits(), spent.searches, spent.tokens)

    def usd(self, spent: Spent) -> float | None:
        """Return what tokens or searches cost; None where that is not known."""
        return self.bill.usd(tokens=spent.tokens, searches=spent.searches)

    def refuse_rest(self, label: str, left: str, found: Unanswered) -> None:
        """Raise for what got no answer.

        Raises:
            HarnessError: exit code 4.
        """
        goes_on = "Answers so far are stored; rerun the command to resume."
        if found.stop == "budget":
            limit = self.bill.budget_usd or 0.0
            raise _failed(f"{label}: budget_usd = {limit:g} is spent; {left}. Raise it.")
        reason = found.reason or next(iter(found.failed.values()), "no reason")
        raise _failed(f"{label}: {self.place} did not answer, got {reason}; {left}. {goes_on}")


@dataclass(frozen=True)
class Spent:
    """What was billed, or may be."""

    tokens: int = 0
    searches: int = 0


def requests_of(counts: Iterable[int], *, most: int, room: int) -> Iterator[list[int]]:
    """Yield the rows of what one request each may hold, in order.

    Args:
        counts: tokens of each row.
        most: rows of a request.
        room: tokens of a request, of which one row alone may take more.

    >>> list(requests_of([5, 5, 9, 20], most=3, room=10))
    [[0, 1], [2], [3]]
    """
    rows: list[int] = []
    tokens = 0
    for row, count in enumerate(counts):
        if rows and (len(rows) == most or tokens + count > room):
            yield rows
            rows, tokens = [], 0
        rows.append(row)
        tokens += count
    if rows:
        yield rows


def billed(tokens: object, *, estimate: int) -> int:
    """Return the tokens that a server says it bills, or the estimate where it says no number."""
    known = type(tokens) is int and 0 < tokens <= _MOST_TOKENS
    return tokens if known and isinstance(tokens, int) else estimate


def _failed(what: str) -> HarnessError:
    return HarnessError(what, exit_code=ExitCode.STAGE)
