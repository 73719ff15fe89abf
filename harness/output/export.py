"""Export: the weights of a trained candidate as a folder to load anywhere, with a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.artifact import META
from harness.errors import ExitCode, HarnessError, cannot_write
from harness.output.folder import replacing
from harness.plan.plan import Plan
from harness.results.gathering import scores
from harness.results.values import Score
from harness.training.data import Origin
from harness.training.finetune import Interpolation, Train
from harness.training.reranker import TrainReranker

CARD = "README.md"


def export(plan: Plan, name: str, folder: Path) -> Path:
    """Copy the weights of a candidate's first seed, with a model card.

    The folder is loaded by `SentenceTransformer(folder)`, or by `CrossEncoder(folder)` where the
    candidate trains its reranker. Scores stand in the card as far as the suite has been run.

    Args:
        plan: of the suite.
        name: of a candidate that brings trained weights of its own: not of a truncation.
        folder: absent or empty.

    Returns:
        The folder.

    Raises:
        HarnessError: exit code 2, the candidate brings no weights, or the folder is a file,
            holds files, or holds the working folder; 4, it is not trained yet, or the folder
            cannot be written.
    """
    makes = plan.makes(name)
    stage = plan.planner.own_weights(name)
    if stage is None:
        trained = [
            each for each in makes if isinstance(each, Train | TrainReranker | Interpolation)
        ]
        named = dict.fromkeys(each.name for each in trained if each.name in plan.suite.candidates)
        names = ", ".join(f"'{each}'" for each in named)
        raise HarnessError(
            f"{plan.suite.where('candidates', name)}: candidate '{name}' has no weights of its "
            f"own. Export its parts instead: {names}.",
            exit_code=ExitCode.USAGE,
        )
    artifact = stage.artifact(plan.store)
    if artifact is None:
        raise HarnessError(
            f"candidate '{name}' is not trained yet. Run: harness train SUITE '{name}' (in Python: "
            f"suite.train({name!r}))",
            exit_code=ExitCode.STAGE,
        )
    try:
        _refuse(folder)
        with replacing(folder) as new:
            shutil.copytree(
                artifact.path, new, ignore=shutil.ignore_patterns(META), dirs_exist_ok=True
            )
            (new / CARD).write_text(card(plan, name, stage), "utf-8")
            if not isinstance(stage, TrainReranker):
                # The prompts that it was trained with, where `encode_query` looks for them.
                file = new / "config_sentence_transformers.json"
                config = json.loads(file.read_text("utf-8"))
                prompts = _prompts(stage)
                config["prompts"] = dict(zip(("query", "document"), prompts, strict=True))
                file.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    except (OSError, RuntimeError) as error:  # a RuntimeError is a loop of symbolic links
        raise cannot_write(str(folder), error, instead="another folder") from error
    return folder


def _refuse(folder: Path) -> None:
    """Raise if a model must not take the place of what a path names."""
    place = folder.resolve()
    if place.exists() and not place.is_dir():
        problem = "a file, not a folder"
    elif Path.cwd().is_relative_to(place):
        problem = "the current folder, or one above it"
    elif place.exists() and any(place.iterdir()):
        problem = "the folder is not empty"
    else:
        return
    raise HarnessError(
        f"{folder}: {problem}. Name an empty or a new one.", exit_code=ExitCode.USAGE
    )


def _prompts(stage: Train | Interpolation) -> tuple[str, str]:
    """Return what a model was trained to read before queries and documents."""
    training = stage.tuned if isinstance(stage, Interpolation) else stage
    if not isinstance(training, Train):
        raise TypeError(f"{stage!r} trains nothing")
    return training.prompts


def card(plan: Plan, name: str, stage: Train | TrainReranker | Interpolation) -> str:
    """Return the model card: data and their licence, loss, seeds, and scores with intervals."""
    # Weights may be a step back from where the training behind them ended.
    training = stage.tuned if isinstance(stage, Interpolation) else stage
    if not isinstance(training, Train | TrainReranker):
        raise TypeError(f"{stage!r} trains nothing")
    loads = "SentenceTransformer" if isinstance(training, Train) else "CrossEncoder"
    meta = training.stored(plan.store).meta
    recipe = meta["recipe"]
    examples = training.data if isinstance(training, Train) else training.examples
    seeds = plan.planner.replicas.trained(name)
    prompts, dev = [], []
    if not isinstance(stage, TrainReranker) and any(_prompts(stage)):
        query, document = _prompts(stage)
        prompts = [f"`encode_query` puts `{query}` before a text, `encode_document` `{document}`."]
    if found := meta.get("dev"):
        said = (
            f"- checkpoint of step {found['best_step']}, selected on `{recipe.get('dev')}`: "
            f"{found['measure']} {found['best']:.3f} (n={found['n']}), {found['before']:.3f} "
            "before training"
            f"{'' if found['best'] > found['before'] else '; training did not improve it there'}"
        )
        dev = [said]
    lines = [
        "---",
        _model_index(plan, name),
        "---",
        f"# {name}",
        f"{plan.suite.candidates[name].summary}, trained by the suite `{plan.suite.name}`.",
        "```python",
        f"from sentence_transformers import {loads}",
        "",
        f'model = {loads}("path/to/this/folder")',
        "```",
        *prompts,
        "## Training",
        f"- loss: {recipe.get('loss', 'binary cross-entropy')}",
        *([f"- Matryoshka widths: {recipe['matryoshka']}"] if recipe.get("matryoshka") else []),
        f"- rows: {meta['rows']:,}",
        f"- epochs: {recipe['epochs']}, batch size: {recipe['batch_size']}",
        f"- steps: {meta['steps']:,}",
        f"- learning rate: {meta.get('learning_rate', recipe['learning_rate']):g}",
        f"- seed: {training.seed}" + (f", one of {len(seeds)}: {seeds}" if len(seeds) > 1 else ""),
        f"- seconds: {meta['seconds']:.0f} on {meta['device']}, {meta['date']}",
        *dev,
        "## Data",
        *_data(examples.origins),
        "## Scores",
        *_scores(plan, name),
    ]
    return "\n".join(lines) + "\n"


def _data(origins: Sequence[Origin]) -> Iterator[str]:
    for origin in origins:
        made = ", written by a language model (synthetic)" if origin.synthetic else ""
        counts = ", ".join(f"{count:,} {reason}" for reason, count in origin.dropped.items())
        dropped = f" (dropped: {counts})" if counts else ""
        yield (
            f"- `{origin.name}`{made}: {origin.kept:,} of {origin.read:,} rows kept{dropped}; "
            f"licence: {origin.licence or 'not stated'}"
        )


def _measured(plan: Plan, name: str) -> list[Score]:
    """Return the scores in the suite's metrics; none where it was not run since the training."""
    stages = [stage for each in plan.collections for stage in plan.scored[name, each].stages]
    if not all(stage.is_done(plan.store) for stage in stages):
        return []
    metrics = {str(metric) for metric in plan.suite.parsed_metrics()}
    found = (score for collection in plan.collections for score in scores(plan, name, collection))
    return [score for score in found if score.metric in metrics]


def _model_index(plan: Plan, name: str) -> str:
    """Return the head of the card: YAML with the scores as the model hub reads them."""
    from huggingface_hub import EvalResult, ModelCardData

    parsed = {str(metric): metric for metric in plan.suite.parsed_metrics()}
    results = [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=score.collection,
            dataset_name=score.collection,
            dataset_split=plan.collections[score.collection].split,
            dataset_revision=plan.collections[score.collection].key,
            metric_type=score.metric if metric.in_tokens else metric.mteb_name,
            metric_name=score.metric,
            metric_value=round(score.mean, 5),
        )
        for score in _measured(plan, name)
        for metric in [parsed[score.metric]]
    ]
    data = ModelCardData(
        model_name=name, library_name="sentence-transformers", eval_results=results or None
    )
    return str(data.to_yaml())


def _scores(plan: Plan, name: str) -> Iterator[str]:
    found = _measured(plan, name)
    if not found:
        yield "The suite has not been run since training."
        return
    yield "| collection | metric | score [95%] | n |"
    yield "| --- | --- | ---: | ---: |"
    for score in found:
        interval = f"{score.mean:.3f} [{score.low:.3f}, {score.high:.3f}]"
        yield f"| {score.collection} | {score.metric} | {interval} | {score.n:,} |"
