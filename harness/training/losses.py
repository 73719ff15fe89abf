"""Losses: by the field's names, the shapes of data that each accepts, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import ExitCode, HarnessError
from harness.models.weights import Weights
from harness.suite.training import FinetuneSpec, Loss
from harness.training.data import Shape, TrainingData

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from harness.training.mining import Examples

_SCALE = 20.0
_GIST_SCALE = 100.0
_MARGIN = 0.5


class LossNeeds(NamedTuple):
    """What a loss needs.

    Attributes:
        build: makes it, given sentence-transformers' losses, the model, the recipe and the guide.
        shapes: of data that it accepts.
        transformer: static embeddings cannot learn from it.
        in_batch: the other rows of a batch are its negatives, so no text may occur twice.
        most_negatives: of a triplet; None for any number.
    """

    build: Callable[[Any, SentenceTransformer, FinetuneSpec, Any], Any]
    shapes: tuple[Shape, ...]
    transformer: bool = False
    in_batch: bool = False
    most_negatives: int | None = None


def _angle(of: Any, model: SentenceTransformer, spec: FinetuneSpec, _: Any) -> Any:
    """Return AnglE's cosine and angle objectives, equally weighted as in Li and Li 2023.

    The angle objective alone orders pairs by an absolute value of cosine plus sine: it can be met
    by vectors whose cosines say nothing, and candidates are compared by cosines.
    """
    import torch

    class CosineAndAngle(torch.nn.Module):
        """The sum of the two, of vectors that are made once."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model
            scale = spec.scale or _SCALE
            self.cosine, self.angle = of.CoSENTLoss(model, scale), of.AnglELoss(model, scale)

        def forward(self, features: Any, labels: Any) -> Any:
            vectors = [self.model(column)["sentence_embedding"] for column in features]
            return sum(
                each.compute_loss_from_embeddings(vectors, labels)
                for each in (self.cosine, self.angle)
            )

    return CosineAndAngle()


_IN_BATCH: tuple[Shape, ...] = ("pairs", "triplets")
LOSSES: Mapping[Loss, LossNeeds] = {
    "multiple-negatives": LossNeeds(
        lambda of, model, spec, _: of.MultipleNegativesRankingLoss(
            model, scale=spec.scale or _SCALE
        ),
        _IN_BATCH,
        in_batch=True,
    ),
    "cached-multiple-negatives": LossNeeds(
        lambda of, model, spec, _: of.CachedMultipleNegativesRankingLoss(
            model, scale=spec.scale or _SCALE, mini_batch_size=spec.mini_batch_size
        ),
        _IN_BATCH,
        transformer=True,
        in_batch=True,
    ),
    "symmetric-multiple-negatives": LossNeeds(
        lambda of, model, spec, _: of.MultipleNegativesRankingLoss(
            model,
            scale=spec.scale or _SCALE,
            directions=("query_to_doc", "doc_to_query"),
            partition_mode="per_direction",
        ),
        _IN_BATCH,
        in_batch=True,
    ),
    "gist": LossNeeds(
        lambda of, model, spec, guide: of.GISTEmbedLoss(
            model, guide, temperature=1 / (spec.scale or _GIST_SCALE)
        ),
        _IN_BATCH,
        transformer=True,
        in_batch=True,
        most_negatives=1,
    ),
    "contrastive": LossNeeds(
        lambda of, model, spec, _: of.ContrastiveLoss(model, margin=spec.margin or _MARGIN),
        ("labelled",),
    ),
    "triplet": LossNeeds(
        # Its own default, Euclidean distances 5 apart, is out of reach of vectors of unit length.
        lambda of, model, spec, _: of.TripletLoss(
            model,
            distance_metric=of.TripletDistanceMetric.COSINE,
            triplet_margin=spec.margin or _MARGIN,
        ),
        ("triplets",),
    ),
    "cosent": LossNeeds(
        lambda of, model, spec, _: of.CoSENTLoss(model, scale=spec.scale or _SCALE),
        ("scored", "labelled"),
    ),
    "angle": LossNeeds(_angle, ("scored", "labelled")),
    "simcse": LossNeeds(
        # A text and itself under another dropout are the pair, all other texts are the negatives.
        lambda of, model, spec, _: of.MultipleNegativesRankingLoss(
            model, scale=spec.scale or _SCALE
        ),
        ("texts",),
        transformer=True,
        in_batch=True,
    ),
}


def refuse_loss(
    spec: FinetuneSpec, data: Examples, *, parent: Weights | None, guide: Weights | None
) -> None:
    """Raise if a loss cannot learn from such data, or not with such models.

    Raises:
        HarnessError: exit code 2, naming the shapes that the loss accepts.
    """
    needs, problems = LOSSES[spec.loss], []
    shape, negatives = data.taught
    if shape not in needs.shapes:
        names = " and ".join(f"'{name}'" for name in spec.data)
        fitting = [f"'{loss}'" for loss, other in LOSSES.items() if shape in other.shapes]
        problems.append(
            f"loss '{spec.loss}' learns from {' or '.join(needs.shapes)}, but {names} "
            f"{'has' if len(spec.data) == 1 else 'have'} {shape}. Name other data, or take "
            f"{' or '.join(fitting)}."
        )
    elif needs.most_negatives is not None and negatives > needs.most_negatives:
        problems.append(
            f"loss '{spec.loss}' takes {needs.most_negatives} negative a row, got "
            f"{negatives}. Lower their number, or take 'multiple-negatives'."
        )
    for role, weights in (("from", parent), ("guide", guide)):
        if needs.transformer and weights is not None and weights.is_static:
            other = "" if spec.loss == "simcse" else ", or take 'multiple-negatives'"
            problems.append(
                f"loss '{spec.loss}' needs a transformer, but that of '{role}' is static. "
                f"Name a transformer{other}."
            )
    if problems:
        raise HarnessError([f"finetune: {text}" for text in problems], exit_code=ExitCode.USAGE)


def build_loss(model: SentenceTransformer, spec: FinetuneSpec, guide: Any) -> Any:
    """Return the loss of a recipe, inside a Matryoshka loss where the recipe has widths."""
    from sentence_transformers.sentence_transformer import losses

    loss = LOSSES[spec.loss].build(losses, model, spec, guide)
    if spec.matryoshka:
        return losses.MatryoshkaLoss(model, loss, matryoshka_dims=spec.matryoshka)
    return loss


def columns_for(loss: Loss, data: TrainingData) -> dict[str, list[Any]]:
    """Return the columns that sentence-transformers' trainer is given.

    SimCSE reads every text twice; the triplet loss has one negative a row, so a row with several
    becomes several.
    """
    if loss == "simcse":
        texts = list(data.columns["text"])
        return {"anchor": texts, "positive": texts}
    columns: dict[str, list[Any]] = {name: list(texts) for name, texts in data.columns.items()}
    if loss == "triplet" and data.negatives > 1:
        negatives = [columns.pop(name) for name in list(columns) if name.startswith("negative")]
        columns = {name: texts * len(negatives) for name, texts in columns.items()}
        columns["negative"] = [text for texts in negatives for text in texts]
    if data.labels is not None:
        columns["label"] = data.labels.tolist()
    return columns
