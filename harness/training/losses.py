"""Losses: by the field's names, the shapes of data that each accepts, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import ExitCode, HarnessError
from harness.models.weights import Weights
from harness.suite.training import FinetuneSpec, Loss
from harness.training.data import Shape, TrainingData
from harness.training.examples import Examples

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_SCALE = 20.0
_GIST_SCALE = 100.0
_MARGIN = 0.5


class LossNeeds(NamedTuple):
    """What a loss needs.

    Attributes:
        build: makes it, given the model, the recipe and the guide.
        shapes: of data that it accepts.
        transformer: static embeddings can not learn from it.
        in_batch: the other rows of a batch are its negatives, so no text may be there twice.
        most_negatives: of a triplet; None for any number.
    """

    build: Callable[[SentenceTransformer, FinetuneSpec, Any], Any]
    shapes: tuple[Shape, ...]
    transformer: bool = False
    in_batch: bool = False
    most_negatives: int | None = None


def _multiple_negatives(model: SentenceTransformer, spec: FinetuneSpec, _: Any) -> Any:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    return MultipleNegativesRankingLoss(model, scale=spec.scale or _SCALE)


def _cached(model: SentenceTransformer, spec: FinetuneSpec, _: Any) -> Any:
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
    )

    return CachedMultipleNegativesRankingLoss(
        model, scale=spec.scale or _SCALE, mini_batch_size=spec.mini_batch_size
    )


def _symmetric(model: SentenceTransformer, spec: FinetuneSpec, _: Any) -> Any:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    return MultipleNegativesRankingLoss(
        model,
        scale=spec.scale or _SCALE,
        directions=("query_to_doc", "doc_to_query"),
        partition_mode="per_direction",
    )


def _contrastive(model: SentenceTransformer, spec: FinetuneSpec, _: Any) -> Any:
    from sentence_transformers.sentence_transformer.losses import ContrastiveLoss

    return ContrastiveLoss(model, margin=spec.margin or _MARGIN)


def _triplet(model: SentenceTransformer, spec: FinetuneSpec, _: Any) -> Any:
    from sentence_transformers.sentence_transformer.losses import TripletLoss
    from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric

    # Its own default, Euclidean distances 5 apart, is out of reach of vectors of unit length.
    return TripletLoss(
        model,
        distance_metric=TripletDistanceMetric.COSINE,
        triplet_margin=spec.margin or _MARGIN,
    )


def _cosent(model: SentenceTransformer, spec: FinetuneSpec, _: Any) -> Any:
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    return CoSENTLoss(model, scale=spec.scale or _SCALE)


def _angle(model: SentenceTransformer, spec: FinetuneSpec, _: Any) -> Any:
    """Return AnglE's cosine and angle objectives, equally weighted as in Li and Li 2023.

    The angle objective alone orders pairs by an absolute value of cosine plus sine: it can be met
    by vectors whose cosines say nothing, and candidates are compared by cosines.
    """
    import torch
    from sentence_transformers.sentence_transformer.losses import AnglELoss, CoSENTLoss

    class CosineAndAngle(torch.nn.Module):
        """The sum of the two, of vectors that are made once."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model
            scale = spec.scale or _SCALE
            self.cosine, self.angle = CoSENTLoss(model, scale), AnglELoss(model, scale)

        def forward(self, features: Any, labels: Any) -> Any:
            vectors = [self.model(column)["sentence_embedding"] for column in features]
            return sum(
                each.compute_loss_from_embeddings(vectors, labels)
                for each in (self.cosine, self.angle)
            )

    return CosineAndAngle()


def _gist(model: SentenceTransformer, spec: FinetuneSpec, guide: Any) -> Any:
    from sentence_transformers.sentence_transformer.losses import GISTEmbedLoss

    return GISTEmbedLoss(model, guide, temperature=1 / (spec.scale or _GIST_SCALE))


_IN_BATCH: tuple[Shape, ...] = ("pairs", "triplets")
LOSSES: Mapping[Loss, LossNeeds] = {
    "multiple-negatives": LossNeeds(_multiple_negatives, _IN_BATCH, in_batch=True),
    "cached-multiple-negatives": LossNeeds(_cached, _IN_BATCH, transformer=True, in_batch=True),
    "symmetric-multiple-negatives": LossNeeds(_symmetric, _IN_BATCH, in_batch=True),
    "gist": LossNeeds(_gist, _IN_BATCH, transformer=True, in_batch=True, most_negatives=1),
    "contrastive": LossNeeds(_contrastive, ("labelled",)),
    "triplet": LossNeeds(_triplet, ("triplets",)),
    "cosent": LossNeeds(_cosent, ("scored", "labelled")),
    "angle": LossNeeds(_angle, ("scored", "labelled")),
    # A text and itself under another dropout are the pair, all other texts are the negatives.
    "simcse": LossNeeds(_multiple_negatives, ("texts",), transformer=True, in_batch=True),
}


def refuse_loss(
    spec: FinetuneSpec, data: Examples, *, parent: Weights | None, guide: Weights | None
) -> None:
    """Raise if a loss can not learn from such data, or not with such models.

    Raises:
        HarnessError: exit code 2, naming the shapes that the loss accepts.
    """
    problems = [*_shape_problems(spec, data), *_model_problems(spec, parent, guide)]
    if problems:
        raise HarnessError([f"finetune: {text}" for text in problems], exit_code=ExitCode.USAGE)


def build_loss(model: SentenceTransformer, spec: FinetuneSpec, guide: Any) -> Any:
    """Return the loss of a recipe, inside a Matryoshka loss where the recipe has widths."""
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    loss = LOSSES[spec.loss].build(model, spec, guide)
    return MatryoshkaLoss(model, loss, matryoshka_dims=spec.matryoshka) if spec.matryoshka else loss


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


def _shape_problems(spec: FinetuneSpec, data: Examples) -> Iterator[str]:
    meaning = LOSSES[spec.loss]
    names = " and ".join(f"'{name}'" for name in spec.data)
    shape, negatives = data.taught
    if shape not in meaning.shapes:
        fitting = [f"'{loss}'" for loss, other in LOSSES.items() if shape in other.shapes]
        yield (
            f"loss '{spec.loss}' learns from {' or '.join(meaning.shapes)}, and {names} "
            f"{'has' if len(spec.data) == 1 else 'have'} {shape}. Name other data, or take "
            f"{' or '.join(fitting)}."
        )
    elif meaning.most_negatives is not None and negatives > meaning.most_negatives:
        yield (
            f"loss '{spec.loss}' takes {meaning.most_negatives} negative a row, got "
            f"{negatives}. Lower their number, or take 'multiple-negatives'."
        )


def _model_problems(
    spec: FinetuneSpec, parent: Weights | None, guide: Weights | None
) -> Iterator[str]:
    if not LOSSES[spec.loss].transformer:
        return
    for role, weights in (("from", parent), ("guide", guide)):
        if weights is not None and weights.is_static:
            other = "" if spec.loss == "simcse" else ", or take 'multiple-negatives'"
            yield (
                f"loss '{spec.loss}' needs a transformer, and that of '{role}' is static. "
                f"Name a transformer{other}."
            )
