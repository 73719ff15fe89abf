"""Finetune: the parent's weights, trained further."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import ExitCode, HarnessError
from harness.models.source import Given, ModelSource
from harness.models.weights import Weights
from harness.plan.candidates import DenseBuilder
from harness.plan.dense import DenseModel
from harness.plan.recipes import examples_of, instruction_for
from harness.suite.kinds.finetune import Finetune
from harness.training.data import TrainingData, shared_rows
from harness.training.finetune import Train
from harness.training.losses import refuse_loss
from harness.training.mining import Examples
from harness.training.reading import NotAskedError
from harness.training.trainer import refuse_dev


class FinetuneBuilder(DenseBuilder[Finetune]):
    """The parent's weights, trained further."""

    def dense(self) -> DenseModel:
        """Return the trained model; while its data are not asked for, one without weights.

        Raises:
            HarnessError: there is nothing to learn from, or the recipe does not fit the parent.
        """
        try:
            return self._trained()
        except NotAskedError as error:
            self.planner.warnings.append(f"'{self.name}': {error}")
        widths = tuple(self.spec.finetune.matryoshka)
        parent = self.planner.dense(self.spec.parent)
        return replace(parent, owner=self.name, model=Given(None), trained_widths=widths)

    def training(self) -> Train | None:
        """Return the training; None while its data are not asked for."""
        model = self.planner.dense(self.name).model
        return model if isinstance(model, Train) else None

    def examples(self) -> Examples | None:
        """Return what it learns from; None while that is not asked for."""
        train = self.training()
        return None if train is None else train.data

    def _trained(self) -> DenseModel:
        spec, planner = self.spec, self.planner
        parent = planner.dense(spec.parent)
        if parent.model is None:
            raise TypeError(f"{spec.parent} has no weights")
        recipe = spec.finetune
        known = _known(parent.model)
        if known is not None and known.chosen.trust_remote_code:
            raise HarnessError(
                f"'{spec.parent}' runs code of its own, which a trained model would lack. "
                "Train it elsewhere and give its folder.",
                exit_code=ExitCode.USAGE,
            )
        data = examples_of(planner, self.name, recipe, searcher=spec.parent)
        dev = planner.sources.read([recipe.dev]) if recipe.dev is not None else None
        sources = [*recipe.data, *([recipe.dev] if recipe.dev is not None else [])]
        guide = planner.dense(recipe.guide).model if recipe.guide is not None else None
        refuse_loss(recipe, data, parent=known, guide=_known(guide))
        if dev is not None:
            refuse_dev(str(recipe.dev), dev)
            self._warn_of_dev(dev, data.data)
        if len(data) < recipe.batch_size:
            named = " and ".join(f"'{name}'" for name in recipe.data)
            raise HarnessError(
                f"finetune: {named} has {len(data)} {data.shape}, fewer than "
                f"one batch of {recipe.batch_size}. Lower batch_size or add data.",
                exit_code=ExitCode.DATA,
            )
        wide = [
            width
            for width in spec.finetune.matryoshka
            if parent.dimension is not None and width > parent.dimension
        ]
        if wide:
            raise HarnessError(
                f"finetune: matryoshka widths {wide} exceed the {parent.dimension} dimensions of "
                f"'{spec.parent}'. Give at most {parent.dimension}.",
                exit_code=ExitCode.USAGE,
            )
        train = Train(
            name=self.name,
            parent=parent.model,
            spec=spec.finetune,
            data=data,
            prompts=parent.prompts_with(instruction_for(planner, parent, sources)),
            max_length=parent.max_length,
            seed=planner.replicas.seeds[self.name],
            dev=dev,
            guide=guide,
        )
        return replace(
            parent, owner=self.name, model=train, trained_widths=tuple(spec.finetune.matryoshka)
        )

    def _warn_of_dev(self, dev: TrainingData, data: TrainingData) -> None:
        again = shared_rows(dev, data)
        if again:
            self.planner.warnings.append(
                f"'{self.name}': {again:,} of {len(dev):,} rows of dev "
                f"'{self.spec.finetune.dev}' are also trained on, which favours late "
                "checkpoints. Remove them from one."
            )


def _known(model: ModelSource | None) -> Weights | None:
    """Return what is known of a model before it is trained: the weights it starts from."""
    while isinstance(model, Train):
        model = model.parent
    return model.given if isinstance(model, Given) else None
