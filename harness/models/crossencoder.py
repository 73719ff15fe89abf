"""Cross-encoder: reads query and document together and gives one score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.errors import ExitCode, HarnessError
from harness.models import engines
from harness.models.batches import FIRST_TOKENS, Budget, compute_in_batches, copied_to_host
from harness.models.feed import Batch, Tokens, on_device
from harness.models.loading import computing, loading, refuse_random
from harness.models.pairs import PairFeed, find_pair_feed
from harness.models.weights import Weights
from harness.store import Store

if TYPE_CHECKING:
    from torch import Tensor


class CrossEncoder:
    """A loaded cross-encoder with one output.

    Args:
        weights: what to load.
        device: torch's name of the device.
        dtype: torch's name of the type of weights and arithmetic; scores are float32.
        max_length: tokens of query and document together; None takes the model's own limit.

    Raises:
        HarnessError: the folder cannot be loaded, or the model classifies into several labels.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str,
        dtype: str = "float32",
        max_length: int | None = None,
    ) -> None:
        self.weights = weights
        self.model = load_cross_encoder(weights, device=device, dtype=dtype, max_length=max_length)
        self._budget = Budget.of(weights.key, device, dtype)
        for problem in label_problems(weights.reference, self.model.num_labels):
            raise HarnessError(problem, exit_code=ExitCode.USAGE)

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch, padding included."""
        return self._budget.tokens or FIRST_TOKENS

    def run_by(self, engine: engines.Engine, store: Store) -> None:
        """Let an engine compute the model's transformer; it was loaded in float32 on a CPU.

        Raises:
            HarnessError: exit code 4, the engine cannot.
        """
        with computing(self.weights):
            examples = [
                self.model.preprocess([(text, text) for text in texts])
                for texts in engines.EXAMPLES
            ]
        engines.run_by(engine, self.model[0], examples, weights=self.weights, store=store)

    def feed(self, pairs: Sequence[tuple[str, str]]) -> PairFeed | None:
        """Return how to feed the model pairs as ids, tried on these; None where it cannot be."""
        with computing(self.weights):
            return find_pair_feed(self.model, pairs)

    def score_tokens(
        self, tokens: Tokens, *, feed: PairFeed
    ) -> Callable[[], npt.NDArray[np.float32]]:
        """Hand tokenised pairs to the device in batches, the longest first.

        Returns:
            a function that waits for the device and returns float32 [n_pairs], as `score` does.

        Raises:
            HarnessError: exit code 4, the model fails.
        """
        import torch

        def scores_of(batch: Batch) -> Tensor:
            scores: Tensor = self.model(feed.feed.padded(batch))["scores"]
            return scores.reshape(len(batch.sizes))

        order = np.argsort(-tokens.lengths, kind="stable")
        with computing(self.weights), torch.inference_mode():
            pairs = on_device(tokens, order, self.model.device)
            found = copied_to_host(
                compute_in_batches(pairs, scores_of, budget=self._budget, advance=lambda _: None)
            )

        def scores() -> npt.NDArray[np.float32]:
            with computing(self.weights):
                sorted_scores = found()
            ordered = np.empty_like(sorted_scores)
            ordered[order] = sorted_scores
            return ordered

        return scores

    def score(self, pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        """Score one batch of (query, document) pairs; larger is more relevant.

        Returns:
            float32 [n_pairs], the raw output: a sigmoid would only squeeze scores into ties.

        Raises:
            HarnessError: exit code 4, the model fails.
        """
        import torch

        with computing(self.weights):
            scores = self.model.predict(
                list(pairs),
                batch_size=len(pairs),
                show_progress_bar=False,
                activation_fn=torch.nn.Identity(),
                convert_to_numpy=True,
            )
            return np.asarray(scores, dtype=np.float32).reshape(len(pairs))


def label_problems(reference: str, labels: int | None) -> Iterator[str]:
    """Yield a sentence where a cross-encoder gives other than one score; None is not known yet."""
    if labels == 0:
        yield (
            f"model '{reference}': its weights have no classification head, so its scores would "
            "be random. Name a cross-encoder trained for ranking."
        )
    elif labels is not None and labels != 1:
        yield (
            f"model '{reference}': a reranker gives one score, got {labels} labels. "
            "Name a cross-encoder trained for ranking."
        )


def load_cross_encoder(
    weights: Weights,
    *,
    device: str,
    dtype: str = "float32",
    max_length: int | None = None,
    new_head: bool = False,
) -> Any:
    """Load weights as sentence-transformers' CrossEncoder.

    Args:
        weights: of a cross-encoder, or of any transformer with `new_head`.
        device: torch's name of the device.
        dtype: "float32" or "bfloat16".
        max_length: tokens of query and document together; None takes the model's own limit.
        new_head: give one output, with a head of random weights where the model has none.

    Raises:
        HarnessError: the folder cannot be loaded.
    """
    import torch
    from sentence_transformers import CrossEncoder as Model

    with loading(weights):
        model = Model(
            str(weights.folder),
            device=device,
            num_labels=1 if new_head else None,
            max_length=max_length,
            local_files_only=True,
            trust_remote_code=weights.chosen.trust_remote_code,
            model_kwargs={"dtype": getattr(torch, dtype)},
        )
        refuse_random(weights, model.transformers_model)
        return model
