"""Settings: what is wrong with the values of a model's files, found before anything is loaded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from harness.errors import is_panic
from harness.models.folder import INDEX, WEIGHTS, Folder, join, shown

# The only names of functions that a folder may give: torch's own, without side effects.
_ACTIVATIONS = {
    *("CELU", "ELU", "GELU", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU"),
    *("LogSigmoid", "LogSoftmax", "Mish", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softmax"),
    *("Softplus", "Softsign", "Tanh", "Tanhshrink"),
}
_ACTIVATION_HOMES = ("torch.nn", "torch.nn.modules.activation", "torch.nn.modules.linear")
_ATTENTION = {None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"}

# Sizes that transformers makes tensors of: none can exceed the largest dimension in the weights.
_WIDTHS = (
    *("hidden_size", "vocab_size", "intermediate_size", "type_vocab_size", "embedding_size"),
    *("d_model", "d_ff", "dim", "hidden_dim", "n_embd", "num_attention_heads", "n_heads", "n_head"),
)
_NEEDED = ("hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads")
_DEPTHS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_LIMITS = ("max_position_embeddings", "n_positions")
_LARGEST_LIMIT = 10**8
_MOST_LAYERS = 10_000
# Every layer has the same weights, so their number says nothing of the depth.
_SHARED_LAYERS = {"albert"}

# Settings of `from_pretrained` that change how a model computes; any other could fetch or unpickle.
_MODEL_KEYS = {
    *("add_pooling_layer", "attn_implementation", "dtype", "is_causal", "low_cpu_mem_usage"),
    *("output_attentions", "output_hidden_states", "torch_dtype", "trust_remote_code"),
    *("use_cache", "use_safetensors"),
}
_NEVER = {
    *("auto_map", "cache_dir", "code_revision", "force_download", "gguf_file", "local_files_only"),
    *("proxies", "quantization_config", "revision", "subfolder", "token", "tokenizer_file"),
    *("use_kernels", "weights_only"),
}
_SENTENCE_CONFIGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_POOLING = {"cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"}
_CONFIGURED = {"Pooling", "Dense", "LayerNorm", "Dropout", "LSTM", "CNN", "WeightedLayerPooling"}
_READS_TEXT = {
    *("Transformer", "StaticEmbedding", "BoW", "WordEmbeddings", "CLIPModel", "Router", "Asym"),
    "SparseStaticEmbedding",
}


def setting_problems(folder: Folder) -> Iterator[str]:
    """Yield what is wrong with a folder's settings, each problem a sentence.

    Raises:
        HarnessError: exit code 2, a file is no JSON or holds no table.
    """
    yield from _declared(folder)
    if folder.modules is not None and folder.parts[0][0] not in _READS_TEXT:
        yield f"modules.json: the first module, {folder.parts[0][0]}, reads no text."
    for name, path in folder.parts:
        if name == "Transformer":
            yield from _transformer(folder, path)
        elif name in _CONFIGURED:
            yield from _module(folder, name, path)
        elif name == "StaticEmbedding":
            yield from _missing(folder, path, WEIGHTS, "weights")
            yield from _missing(folder, path, ("tokenizer.json",), "tokenizer")
    yield from _tokenizers(folder)
    for name, found in folder.pickled.items():
        if isinstance(found, str):
            yield (
                f"{folder.path / name} is pickled and holds more than tensors, or is damaged; it "
                f"is not loaded ({found[:120]}). Give the weights as safetensors."
            )


def _declared(folder: Folder) -> Iterator[str]:
    """Yield what is wrong with config_sentence_transformers.json."""
    name = "config_sentence_transformers.json"
    declared = folder.table(name)
    prompts = declared.get("prompts", {})
    if not isinstance(prompts, dict) or not all(
        isinstance(prompt, str | None) for prompt in prompts.values()
    ):
        yield f"{name}: 'prompts' must be a table of texts, got {shown(prompts)}. Correct it."
    elif declared.get("default_prompt_name") not in [None, "query", "document", *prompts]:
        yield (
            f"{name}: default_prompt_name {shown(declared['default_prompt_name'])} is none of the "
            f"prompts {shown(list(prompts))}. Correct it."
        )
    similarity = declared.get("similarity_fn_name")
    if not isinstance(similarity, str | None):
        yield f"{name}: similarity_fn_name must be a text, got {shown(similarity)}. Correct it."
    if "activation_fn" in declared:
        yield from _activation(name, "activation_fn", declared["activation_fn"])


def _transformer(folder: Folder, path: str) -> Iterator[str]:
    """Yield what is wrong with a transformer: its weights, its tokenizer, its settings."""
    name = join(path, "config.json")
    if not folder.has(name):
        yield f"{name} is missing. Download the folder again."
        return
    yield from _missing(folder, path, (*WEIGHTS, *INDEX), "weights")
    for index in INDEX:
        shards = folder.table(join(path, index)).get("weight_map", {})
        names = set(shards.values()) if isinstance(shards, dict) else {shown(shards)}
        absent = sorted(str(each) for each in names if not folder.has(join(path, str(each))))
        if absent:
            yield (
                f"{join(path, index)} names {len(absent)} files that are missing "
                f"({', '.join(absent[:3])}). Download the folder again."
            )
    if not folder.has_tokenizer(path):
        yield (
            f"no tokenizer lies beside {name}: expected tokenizer.json, vocab.txt or a "
            "SentencePiece model. Save it there, too."
        )
    yield from _config(folder, path, name)
    for sentence in _SENTENCE_CONFIGS:
        yield from _sentence_config(folder, join(path, sentence))


def _config(folder: Folder, path: str, name: str) -> Iterator[str]:
    """Yield what is wrong with the configuration of a transformer."""
    config = folder.table(name)
    names = config.get("architectures")
    if names is not None and not (
        isinstance(names, list) and all(isinstance(each, str) for each in names)
    ):
        yield f"{name}: 'architectures' must be a list of names, got {shown(names)}. Correct it."
    kind = config.get("model_type")
    if not isinstance(kind, str | None):
        yield f"{name}: 'model_type' must be a text, got {shown(kind)}. Correct it."
    yield from _numbers(config, name)
    for key in ("_attn_implementation", "attn_implementation"):
        yield from _attention(name, key, config.get(key))
    if config.get("sbert_ce_default_activation_function") is not None:
        key = "sbert_ce_default_activation_function"
        yield from _activation(name, key, config[key])
    below = config.get("sentence_transformers", {})
    if not isinstance(below, dict):
        yield f"{name}: 'sentence_transformers' must be a table, got {shown(below)}. Correct it."
    elif "activation_fn" in below:
        yield from _activation(name, "sentence_transformers.activation_fn", below["activation_fn"])
    yield from _against_weights(folder, path, name, config)


def _numbers(config: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield which sizes of a configuration are no sizes."""
    labels = config.get("id2label")
    if not isinstance(labels, dict | None) or (labels is not None and not labels):
        yield f"{name}: 'id2label' must be a table of names, got {shown(labels)}. Correct it."
    for key in (*_WIDTHS, *_DEPTHS, *_LIMITS, "num_labels"):
        value = config.get(key)
        if key in _NEEDED and key in config and value is None:
            yield f"{name}: {key} must be a whole number from 1 on, got null. Correct it."
        if value is not None and not (_is_count(value) and value < 10**9):
            yield f"{name}: {key} must be a whole number from 1 on, got {shown(value)}. Correct it."


def _against_weights(
    folder: Folder, path: str, name: str, config: Mapping[str, Any]
) -> Iterator[str]:
    """Yield where a configuration asks for more than the weights hold.

    transformers would build it, with random numbers in the place of what is missing.
    """
    for key in _DEPTHS:
        if _is_count(config.get(key)) and config[key] > _MOST_LAYERS:
            yield f"{name}: {key} = {config[key]} is not possible. Correct it."
            return
    shapes = {
        key: shape
        for key, shape in {**folder.shapes, **folder.pickled}.items()
        if not isinstance(shape, str) and _home(key) == path.rstrip("/")
    }
    if not shapes:
        return
    largest = max(max(shape, default=1) for shape in shapes.values())
    for key in _WIDTHS:
        value = config.get(key)
        if _is_count(value) and value > largest:
            yield (
                f"{name}: {key} = {value}, and no dimension of the weights exceeds {largest}. "
                "Use the configuration that belongs to them."
            )
    layers = _layers(shapes)
    for key in _DEPTHS:
        value = config.get(key)
        shared = folder.model_type(path) in _SHARED_LAYERS
        if layers and not shared and _is_count(value) and value > layers:
            yield (
                f"{name}: {key} = {value}, and the weights hold {layers} layers. "
                "Use the configuration that belongs to them."
            )
    yield from _tables(config, name, shapes, largest)


def _tables(
    config: Mapping[str, Any], name: str, shapes: Mapping[str, tuple[int, ...]], largest: int
) -> Iterator[str]:
    """Yield where the tables of tokens and of positions have another length than is declared."""
    for key, tensor in (
        ("vocab_size", "word_embeddings.weight"),
        ("max_position_embeddings", "position_embeddings.weight"),
    ):
        value = config.get(key)
        held = next((shape[0] for each, shape in shapes.items() if each.endswith(tensor)), None)
        if held is None or not _is_count(value) or held == value:
            continue
        if key not in _WIDTHS or value <= largest:
            yield (
                f"{name}: {key} = {value}, and the weights hold {held}. "
                "Use the configuration that belongs to them."
            )


def _home(tensor: str) -> str:
    """Return the folder of the file that a tensor lies in."""
    return tensor.split(":", 1)[0].rpartition("/")[0]


def _layers(shapes: Mapping[str, Any]) -> int:
    """Return how many numbered layers the names of the tensors count; 0 where they number none."""
    found = -1
    for key in shapes:
        steps = key.split(":", 1)[1].split(".")
        for before, step in itertools.pairwise(steps):
            if step.isdecimal() and before in {"layer", "layers", "h", "block", "blocks"}:
                found = max(found, int(step))
                break
    return found + 1


def _sentence_config(folder: Folder, name: str) -> Iterator[str]:
    settings = folder.table(name)
    limit = settings.get("max_seq_length")
    if limit is not None and not (_is_count(limit) and limit <= _LARGEST_LIMIT):
        yield (
            f"{name}: max_seq_length must be a whole number from 1 to {_LARGEST_LIMIT}, got "
            f"{shown(limit)}. Correct it."
        )
    for kind in ("model", "config", "tokenizer", "processor"):
        for key in (f"{kind}_args", f"{kind}_kwargs"):
            given = settings.get(key, {})
            if not isinstance(given, dict):
                yield f"{name}: '{key}' must be a table, got {shown(given)}. Correct it."
                continue
            for word, value in given.items():
                if (kind == "model" and word not in _MODEL_KEYS) or word in _NEVER:
                    yield (
                        f"{name}: {key} sets '{word}' = {shown(value)}, which a folder may not "
                        "choose. Remove it, or give vectors made elsewhere."
                    )
            yield from _attention(
                name, f"{key}.attn_implementation", given.get("attn_implementation")
            )


def _module(folder: Folder, kind: str, path: str) -> Iterator[str]:
    """Yield what is wrong with a module that turns vectors into others."""
    name = join(path, "config.json")
    if kind in {"LSTM", "CNN"}:
        name = join(path, f"{kind.lower()}_config.json")
    if not folder.has(name):
        yield f"{name} is missing, which says how {kind} works. Download the folder again."
        return
    settings = folder.table(name)
    if kind == "Pooling":
        yield from _pooling(folder, path, name, settings)
    if kind == "Dense":
        for key in ("in_features", "out_features"):
            if not _is_count(settings.get(key)):
                got = shown(settings.get(key))
                yield f"{name}: {key} must be a whole number from 1 on, got {got}. Correct it."
        if "activation_function" in settings:
            yield from _activation(name, "activation_function", settings["activation_function"])
        yield from _missing(folder, path, WEIGHTS, "weights")


def _pooling(folder: Folder, path: str, name: str, settings: Mapping[str, Any]) -> Iterator[str]:
    width = pooled_width(settings)
    if not _is_count(width):
        yield (
            f"{name}: the width (word_embedding_dimension) must be a whole number from 1 on, got "
            f"{shown(width)}. Correct it."
        )
        return
    modes = settings.get("pooling_mode", [])
    modes = [modes] if isinstance(modes, str) else modes
    if not isinstance(modes, list) or not all(
        isinstance(mode, str) and mode in _POOLING for mode in modes
    ):
        known = ", ".join(sorted(_POOLING))
        yield f"{name}: pooling_mode {shown(modes)} is unknown. Known: {known}."
    before = [place for kind, place in folder.parts if kind == "Transformer"]
    if len(before) == 1 and len(folder.parts) > 1 and folder.parts[1] == ("Pooling", path):
        hidden = folder.table(join(before[0], "config.json")).get("hidden_size")
        if _is_count(hidden) and hidden != width:
            yield (
                f"{name}: the width {width} is not the hidden_size {hidden} of the transformer. "
                "Use the files of one model."
            )


def pooled_width(settings: Mapping[str, Any]) -> Any:
    """Return the width of the vectors that a Pooling reads, under its new or its old name."""
    return settings.get("embedding_dimension", settings.get("word_embedding_dimension"))


def pooling_modes(settings: Mapping[str, Any]) -> int:
    """Return how many ways of pooling a Pooling concatenates."""
    modes = settings.get("pooling_mode")
    if isinstance(modes, list):
        return max(len(modes), 1)
    old = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value]
    return max(len(old), 1) if modes is None else 1


def _activation(name: str, key: str, value: Any) -> Iterator[str]:
    """Yield a sentence unless a dotted name is that of one of torch's activations.

    sentence-transformers calls whatever such a name stands for.
    """
    if value is None:
        return
    home, _, word = value.rpartition(".") if isinstance(value, str) else ("", "", "")
    if home not in _ACTIVATION_HOMES or word not in _ACTIVATIONS:
        yield (
            f"{name}: {key} = {shown(value)} is no activation of torch.nn that is known here, and "
            "nothing else is run. Write one such as torch.nn.modules.linear.Identity."
        )


def _attention(name: str, key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, str | None) or value not in _ATTENTION:
        yield (
            f"{name}: {key} = {shown(value)} is no attention of transformers itself; it would "
            "fetch code. Remove it."
        )


def _missing(folder: Folder, path: str, names: tuple[str, ...], what: str) -> Iterator[str]:
    if not any(folder.has(join(path, name)) for name in names):
        place = folder.path / path if path else folder.path
        yield f"{place} has no {what}, expected {' or '.join(names[:2])}. Download it again."


def _tokenizers(folder: Folder) -> Iterator[str]:
    """Yield which tokenizers their library refuses."""
    reading = [path for kind, path in folder.parts if kind in {"Transformer", "StaticEmbedding"}]
    for path in dict.fromkeys(reading):
        file = folder.path / join(path, "tokenizer.json")
        if file.is_file():
            yield from tokenizer_problems(file)
        limit = folder.table(join(path, "tokenizer_config.json")).get("model_max_length")
        if limit is not None and not (
            isinstance(limit, int | float) and not isinstance(limit, bool) and limit >= 1
        ):
            place = join(path, "tokenizer_config.json")
            yield f"{place}: model_max_length must be a number, got {shown(limit)}. Correct it."


def tokenizer_problems(file: Path) -> Iterator[str]:
    """Yield why a fast tokenizer's file cannot be loaded."""
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(file)).encode("", "")
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise  # the library raises nothing more precise
        said = next(iter(str(error).splitlines()), type(error).__name__)
        yield f"{file} is no tokenizer: {said}. Download it again."


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
