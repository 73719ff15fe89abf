"""Client: Anthropic's and OpenAI's own packages behind one verb, and what their errors mean.

The key is read from the environment and given to the package alone: it is in no content key, no
file and no message.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from harness.errors import ExitCode, HarnessError
from harness.providers.http import (
    ApiKey,
    BoundedHttp,
    BusyError,
    UnwantedBodyError,
    readable,
    refused,
    token_estimate,
)
from harness.suite.training import LanguageModelSpec
from harness.synthetic.prompt import Answer, Ending, Messages

KEY_VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}

_LONGEST_NAME = 200  # characters of a model's name
_MOST_TOKENS = 10**9  # of one answer; a server that bills more is mistaken
_ENDINGS: dict[str, Ending] = {
    "max_tokens": "cut",
    "length": "cut",
    "refusal": "refused",
    "content_filter": "refused",
}


def setup_problems(spec: LanguageModelSpec) -> Iterator[str]:
    """Yield what is missing before anything can be asked: the package, the key."""
    if importlib.util.find_spec(spec.provider) is None:
        yield (
            f"the provider needs the package '{spec.provider}', which is not installed. "
            "Install it: pip install 'embedding-harness[synthetic]'."
        )
    yield from ApiKey.read(_key_variable(spec)).problems()


def _key_variable(spec: LanguageModelSpec) -> str | None:
    """Return the variable that holds the key; None for a server of one's own without a key.

    So the key of a provider is sent to another address only where the suite says so.
    """
    if spec.key_variable is not None or spec.base_url is not None:
        return spec.key_variable
    return KEY_VARIABLES[spec.provider]


@dataclass(frozen=True)
class Client:
    """What answers conversations, from several threads at once; `open_client` makes it.

    Attributes:
        spec: provider, model and address.
        where: begins its messages.
        package: of the provider.
        key: that is sent.
        connection: the package's own client.
        http: bounds its requests.
        temperature: that is asked for; None leaves it to the server.
    """

    spec: LanguageModelSpec
    where: str
    package: ModuleType = field(repr=False)
    key: ApiKey
    connection: Any = field(repr=False)
    http: BoundedHttp = field(repr=False)
    temperature: float | None = None

    def ask(self, messages: Messages, *, system: str) -> Answer:
        """Return the answer to a conversation, without the key should the server repeat it.

        Where the server bills no tokens, or what is no number, they are estimated.

        Raises:
            BusyError: there is none this time.
            HarnessError: exit code 4, asking again would not help.
        """
        turns = [{"role": role, "content": text} for role, text in messages]
        is_anthropic = self.spec.provider == "anthropic"
        with self._told_errors():
            found, text, ending = (self._anthropic if is_anthropic else self._openai)(system, turns)
            usage = getattr(found, "usage", None)
            kinds = ("input", "output") if is_anthropic else ("prompt", "completion")
            billed: list[Any] = [getattr(usage, f"{kind}_tokens", None) for kind in kinds]
            read, written = billed
            if not (_is_count(read) and _is_count(written) and read):
                read, written = conversation_tokens(messages, system=system), token_estimate(text)
            named = getattr(found, "model", None)
            named = named if isinstance(named, str) and named else self.spec.model
            return Answer(
                text=self.key.hidden_in(readable(text)),
                ending=ending,
                input_tokens=read,
                output_tokens=written,
                model=self.key.hidden_in(readable(named))[:_LONGEST_NAME],
            )

    def _anthropic(self, system: str, turns: list[dict[str, str]]) -> tuple[Any, str, Ending]:
        found = self.connection.messages.create(
            model=self.spec.model,
            max_tokens=self.spec.answer_tokens,
            system=system,
            messages=turns,
            **self._asked,
        )
        text = "".join(block.text for block in found.content if block.type == "text")
        return found, text, _ending(found.stop_reason)

    def _openai(self, system: str, turns: list[dict[str, str]]) -> tuple[Any, str, Ending]:
        # OpenAI's newer models know only the new word, and many other servers only the old one.
        limit = "max_tokens" if self.spec.base_url else "max_completion_tokens"
        found = self.connection.chat.completions.create(
            model=self.spec.model,
            messages=[{"role": "system", "content": system}, *turns],
            **{limit: self.spec.answer_tokens},
            **self._asked,
        )
        choice = found.choices[0]
        refusal = getattr(choice.message, "refusal", None)
        if isinstance(refusal, str) and refusal:
            return found, refusal, "refused"
        content = choice.message.content
        if not isinstance(content, str | None):  # some servers give it in parts
            parts = [part["text"] for part in content]
            if not parts or not all(isinstance(part, str) for part in parts):
                raise ValueError("a message whose content is no text")
            content = "".join(parts)
        return found, content or "", _ending(choice.finish_reason)

    @property
    def _asked(self) -> dict[str, float]:
        return {} if self.temperature is None else {"temperature": self.temperature}

    @contextmanager
    def _told_errors(self) -> Iterator[None]:
        """Turn the package's errors into ours; none keeps the request, which holds the key."""
        late = f"no answer within {self.spec.timeout_seconds:g} s"
        with self.http.within(self.spec.timeout_seconds) as deadline:
            try:
                yield
            except self.package.APITimeoutError:
                raise BusyError(late, maybe_billed=True) from None
            except self.package.APIConnectionError as error:
                reason = self.key.quoted(f"no connection, {error.__cause__ or error}")
                raise BusyError(late if deadline.is_over else reason, maybe_billed=True) from None
            except self.package.APIStatusError as error:
                who = f"{self.where}: {self.spec.provider}"
                raise refused(
                    error.response, error.body, who=who, key=self.key, settings="model and base_url"
                ) from None
            except UnwantedBodyError as error:
                raise BusyError(str(error), maybe_billed=True) from None
            except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
                # The packages pass on what is no JSON, or is no answer of this protocol; a body
                # without a length just ends where the connection is shut down.
                reason = late if deadline.is_over else "an answer that is not of its protocol"
                raise BusyError(reason, maybe_billed=True) from None


def _ending(reason: Any) -> Ending:
    return _ENDINGS.get(reason, "whole") if isinstance(reason, str) else "whole"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_TOKENS


@contextmanager
def open_client(
    spec: LanguageModelSpec, *, where: str, temperature: float | None = None
) -> Iterator[Client]:
    """Give the client of a provider while the block runs.

    Raises:
        HarnessError: exit code 2, the package or the key is missing.
    """
    problems = [f"{where}: {problem}" for problem in setup_problems(spec)]
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    package = importlib.import_module(spec.provider)
    key = ApiKey.read(_key_variable(spec))
    http = BoundedHttp()
    make = package.Anthropic if spec.provider == "anthropic" else package.OpenAI
    with make(
        api_key=key.value or "no key",
        base_url=spec.base_url,
        timeout=spec.timeout_seconds,
        max_retries=0,  # ours count for the budget, and one server's wish to wait holds for all
        http_client=http.client(package.DefaultHttpxClient),
    ) as connection:
        yield Client(spec, where, package, key, connection, http, temperature)


def conversation_tokens(messages: Messages, *, system: str) -> int:
    """Return about how many tokens a conversation has, the system's part included."""
    return token_estimate(system + "".join(message.text for message in messages))
