"""Interpolation: weights between those of a trained model and of what it was trained from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ExitCode, HarnessError
from harness.models.biencoder import load_sentence_transformer
from harness.retrieval.encoding import ModelSource
from harness.stage import Context, InputMissingError
from harness.store import Store
from harness.training.finetune import WeightsStage, save_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_SHOWN = 3


@dataclass(frozen=True, eq=False)
class Interpolation(WeightsStage):
    """Stage: weights on the straight line from a model to what training made of it.

    Somewhere between the two often lies a model that keeps most of what training gained and of what
    the parent knew (Wortsman et al. 2022, WiSE-FT; Xiao et al. 2023, LM-Cocktail).

    Attributes:
        parent: where training started.
        tuned: where it ended; tokenizer and settings are taken from here.
        share: of the trained weights, between 0 and 1.
    """

    parent: ModelSource
    tuned: ModelSource
    share: float

    @property
    def label(self) -> str:
        """What is done."""
        return f"interpolate {self.name}"

    def run(self, context: Context) -> None:
        """Average every float tensor of the two models and store the result as a model's folder.

        Raises:
            HarnessError: the two models have tensors of different names or shapes.
        """
        key = self.ready_key(context.store)
        model, start = (self._load(end, context.store) for end in (self.tuned, self.parent))
        trained, before = model.state_dict(), start.state_dict()
        names = trained.keys() | before.keys()
        differing = sorted(
            name
            for name in names
            if getattr(trained.get(name), "shape", None) != getattr(before.get(name), "shape", None)
        )
        if differing:
            shown = ", ".join(differing[:_SHOWN]) + (", …" if len(differing) > _SHOWN else "")
            raise HarnessError(
                f"{self.label}: {len(differing)} of {len(names)} tensors differ in name or shape "
                f"between the two models ({shown}). Interpolate between weights of one "
                "architecture and one vocabulary.",
                exit_code=ExitCode.STAGE,
            )
        mixed = {
            name: tensor.lerp(before[name].to(tensor.dtype), 1 - self.share)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in trained.items()
        }
        model.load_state_dict(mixed)
        with context.store.writing(self.kind, key, meta={"share": self.share}) as folder:
            save_model(model, folder)

    def _load(self, end: ModelSource, store: Store) -> SentenceTransformer:
        weights = end.weights(store)
        if weights is None:
            raise InputMissingError(f"{self.label}: the weights do not exist yet")
        return load_sentence_transformer(weights, device="cpu")
