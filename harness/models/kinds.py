"""Kinds: folders that hold another kind of model than is compared here, refused by their files.

Each sentence says what the folder is, which file says so, and what to give instead.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.models.folder import Folder, ModelKind, class_of, join, shown

_VECTORS = 'Give precomputed vectors: vectors = { documents = "…", queries = "…" }.'
_RUN = 'Give a precomputed run: run = "file".'

_MODULES = {
    *("Transformer", "StaticEmbedding", "Pooling", "Normalize", "Dense", "Dropout"),
    *("LayerNorm", "WeightedLayerPooling", "LSTM", "CNN", "BoW", "WordEmbeddings"),
    *("WordWeights", "CLIPModel", "Router", "Asym", "LogitScore"),
}
_SPARSE = {
    *("SpladePooling", "MLMTransformer", "SparseAutoEncoder", "CSRSparsity"),
    *("SparseStaticEmbedding", "IDF"),
}
_LATE = {"MultiVectorMask", "TokenPooling"}
# What makes one vector of a text out of those of its tokens.
_POOLERS = {"Pooling", "WeightedLayerPooling", "CLIPModel", "Router", "Asym", "LSTM", "CNN"}
_DECLARES = "config_sentence_transformers.json"
_MODEL_TYPES = (
    *("SentenceTransformer", "SparseEncoder", "MultiVectorEncoder", "ColBERT"),
    "CrossEncoder",
)
_STANFORD = "HF_ColBERT"  # what ColBERT's own code saves
# PyLate's modules that sentence-transformers loads as its own.
_OF_PYLATE = {"pylate.models.Dense.Dense"}
_WHAT: dict[ModelKind, str] = {
    "dense": "a model with one vector per text",
    "sparse": "a sparse encoder (SPLADE), which returns term weights and no dense vectors",
    "multi-vector": "a late-interaction model (ColBERT), with one vector per token",
}
_GENERATES = ("ForCausalLM", "LMHeadModel")
_DECODERS = {
    *("bloom", "cohere", "falcon", "gemma", "gemma2", "gemma3", "gemma3_text", "gpt2", "gpt_neo"),
    *("gpt_neox", "gptj", "llama", "mistral", "mixtral", "olmo", "opt", "phi", "phi3", "qwen2"),
    *("qwen3", "stablelm", "starcoder2"),
}
_MODULE = re.compile(r"sentence_transformers\.(\w+\.)?(models|modules)\.")
# Of encoders: how transformers' names of tensors begin, and a name that they all have.
_SELF = "encoder.layer.0.attention.self.query."
_FAMILIES = {
    "bert": ("bert", _SELF),
    "roberta": ("roberta", _SELF),
    "xlmroberta": ("roberta", _SELF),
    "camembert": ("roberta", _SELF),
    "electra": ("electra", _SELF),
    "distilbert": ("distilbert", "transformer.layer.0.attention.q_lin."),
    "mpnet": ("mpnet", "encoder.layer.0.attention.attn.q."),
    "albert": ("albert", "encoder.albert_layer_groups."),
}
_OTHER_FORMATS = {
    ".gguf": "GGUF weights for llama.cpp",
    ".onnx": "ONNX weights for onnxruntime",
    ".h5": "TensorFlow weights",
    ".msgpack": "Flax weights",
    ".pt": "a pickled checkpoint of torch",
    ".pth": "a pickled checkpoint of torch",
    ".ckpt": "a pickled checkpoint of torch",
}


def other_kind(folder: Folder) -> Iterator[str]:
    """Yield why a folder holds no model that is compared here, the most telling reason first.

    Raises:
        HarnessError: exit code 2, a file that says so is malformed.
    """
    yield from _other_format(folder)
    yield from _not_as_asked(folder)
    if not folder.chosen.trust_remote_code:
        yield from _custom_code(folder)
    yield from _other_family(folder)
    yield from _no_pooling(folder)


def code_doubts(folder: Folder) -> Iterator[str]:
    """Yield which code of a folder is run, or that transformers' class stands in for it; and where
    a bare masked language model is taken for a sparse encoder.
    """
    if folder.chosen.kind == "sparse" and folder.modules is None:
        yield (
            f"'{folder.reference}': config.json declares {_architecture(folder)} and there is no "
            "modules.json; as in sentence-transformers, the largest logit of each term is taken "
            "(SPLADE). A language model that was not trained for that gives every term a weight."
        )
    if folder.chosen.trust_remote_code:
        code = [name for name in folder.files if name.endswith(".py")]
        yield (
            f"'{folder.reference}': its own code is run, with your permissions on this machine "
            f"({', '.join(code) or 'none in the folder: from other folders of the hub'})."
        )
        return
    for path in _transformers(folder):
        name = join(path, "config.json")
        config = folder.table(name)
        if _code(config.get("auto_map")):
            yield (
                f"'{folder.reference}': {name} names code of its own ({_code(config['auto_map'])}"
                f"), which is not run here; transformers' own '{config.get('model_type')}' is. "
                "Compare some vectors with those of its authors, give precomputed vectors, or "
                "run it: trust_remote_code = true."
            )


def _transformers(folder: Folder) -> list[str]:
    return [path for name, path in folder.parts if name == "Transformer"]


def _other_format(folder: Folder) -> Iterator[str]:
    """Yield what is said about adapters, quantised weights and formats of other programs."""
    for path in _transformers(folder):
        if folder.has(join(path, "adapter_config.json")):
            base = folder.table(join(path, "adapter_config.json")).get("base_model_name_or_path")
            yield (
                f"{join(path, 'adapter_config.json')} says that this is an adapter (PEFT, LoRA) "
                f"to {shown(base)}, without the model itself. Merge it (merge_and_unload()) and "
                "save the merged model."
            )
        quantised = folder.table(join(path, "config.json")).get("quantization_config")
        if quantised is not None:
            method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
            yield (
                f"{join(path, 'config.json')} declares quantised weights ({shown(method)}), which "
                f"need a library of their own. Give the unquantised model. {_VECTORS}"
            )
    if not folder.tensors:
        found = sorted({path.suffix for path in folder.path.rglob("*") if path.is_file()})
        for suffix in found:
            if suffix in _OTHER_FORMATS:
                yield (
                    f"{folder.path} holds {_OTHER_FORMATS[suffix]}, and no safetensors that "
                    f"sentence-transformers loads. Give those, or: {_VECTORS}"
                )


def _other_family(folder: Folder) -> Iterator[str]:
    """Yield where the weights, or the class they were saved from, are of another family than
    model_type says: transformers would load what fits and make the rest of random numbers.
    """
    for path in _transformers(folder):
        name = join(path, "config.json")
        said = str(folder.model_type(path))
        if said.replace("-", "") not in _FAMILIES:
            continue
        start, mark = _FAMILIES[said.replace("-", "")]
        tensors = [
            key.partition(":")[2]
            for key in folder.shapes
            if Path(key.partition(":")[0]).parent == Path(path)
        ]
        starts = {key.partition(".")[0] for key in tensors}
        other = {each for each, _ in _FAMILIES.values()} & starts
        foreign = {each for _, each in _FAMILIES.values() if any(each in key for key in tensors)}
        found = ""
        if other and start not in starts:
            found = f"its weights are named {sorted(other)[0]}.…"
        elif foreign and mark not in foreign:
            found = f"its weights have names such as {sorted(foreign)[0]}…"
        elif (saved := _saved_from(folder.table(name))) and _FAMILIES[saved][0] != start:
            found = f"architectures names a class of {saved}"
        if found:
            yield (
                f"{name} says model_type {shown(said)}, and {found}: they would be computed "
                "wrongly. Use the files of one model."
            )


def _saved_from(config: dict[str, Any]) -> str:
    """Return the family of the class that the weights were saved from; "" where it is unknown."""
    names = config.get("architectures")
    first = str(names[0]) if isinstance(names, list) and names else ""
    family = re.sub(r"(Model|For[A-Z]\w*)$", "", first).lower()
    return family if family in _FAMILIES else ""


def _not_as_asked(folder: Folder) -> Iterator[str]:
    """Yield what a folder holds where that is not what it is to be loaded as, and how it is named.

    A bare masked language model may be loaded as SPLADE, as sentence-transformers does.
    """
    found = _declared_kinds(folder)
    asked = folder.chosen.kind
    for kind, by in found.items():
        if kind != asked:
            yield f"{by}: this is {_WHAT[kind]}. Give it as a candidate: {_named(folder, kind)}."
    first = _architecture(folder)
    if asked != "dense" and not found:
        declared = folder.table(_DECLARES).get("model_type")
        if declared == "CrossEncoder" or first.endswith("ForSequenceClassification"):
            yield (
                "this is a cross-encoder, which scores pairs of texts. Use it to rerank: "
                "rerank = { model = … }."
            )
        elif folder.modules is not None or asked != "sparse" or not first.endswith("ForMaskedLM"):
            lacks = "no term weights" if asked == "sparse" else "no token vectors"
            yield (
                f"its files declare {lacks}: this is {_WHAT['dense']}, or untrained. "
                f"Give it as a candidate: {_named(folder, 'dense')}."
            )
    if asked == "multi-vector" and folder.modules is None and first != _STANFORD and found:
        yield f"config.json declares {first}, which reads images. {_RUN}"
    declared = folder.table(_DECLARES).get("model_type")
    if declared is not None and declared not in _MODEL_TYPES:
        yield (
            f"{_DECLARES}: model_type {shown(declared)} is unknown. Known are "
            f"{', '.join(_MODEL_TYPES[:-1])} and {_MODEL_TYPES[-1]}."
        )


def _declared_kinds(folder: Folder) -> dict[ModelKind, str]:
    """Return the other kinds than dense that the files of a folder declare, and what says so."""
    declared = folder.table(_DECLARES).get("model_type")
    names = {class_of(name): name for name in folder.types()}
    found: dict[ModelKind, str] = {}
    sparse = sorted(set(names) & _SPARSE)
    if declared == "SparseEncoder" or sparse:
        by = f"modules.json lists {sparse[0]}" if sparse else f"{_DECLARES} says SparseEncoder"
        found["sparse"] = by
    late = [name for name in names.values() if name.startswith("pylate.")]
    late += [name for short, name in names.items() if short in _LATE]
    architectures = folder.table("config.json").get("architectures")
    if isinstance(architectures, list):
        late += [name for name in architectures if re.match(r"(HF_)?Col[A-Z]", str(name))]
    if late or declared in ("MultiVectorEncoder", "ColBERT"):
        by = f"its files name {late[0]}" if late else f"{_DECLARES} says {declared}"
        found["multi-vector"] = by
    return found


def _named(folder: Folder, kind: ModelKind) -> str:
    """Return the line of a suite that names a folder as what it is."""
    key = {"dense": "model", "sparse": "sparse", "multi-vector": "multi_vector"}[kind]
    return f'{key} = "{folder.reference}"'


def _architecture(folder: Folder) -> str:
    """Return the class that the weights were saved from, or ""."""
    names = folder.table("config.json").get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _custom_code(folder: Folder) -> Iterator[str]:
    """Yield where only code of the folder could load it: it would have to run unasked."""
    for dotted in folder.types():
        if dotted in _OF_PYLATE and folder.chosen.kind == "multi-vector":
            continue
        if not dotted.startswith("sentence_transformers."):
            yield _is_custom(f"modules.json names the class {shown(dotted)}")
        elif not _MODULE.match(dotted) or class_of(dotted) not in _MODULES | _SPARSE | _LATE:
            yield (
                f"modules.json: {shown(dotted)} is not a module of sentence-transformers. "
                "Download the folder again."
            )
    for path in _transformers(folder):
        name = join(path, "config.json")
        config = folder.table(name)
        code, kind = _code(config.get("auto_map")), folder.model_type(path)
        if not folder.has(name) or (kind is not None and _is_native(kind)):
            continue
        if code:
            yield _is_custom(f"{name} names {code} for model_type {shown(kind)}")
        elif folder.modules is not None or config.get("architectures"):
            yield (
                f"{name}: model_type {shown(config.get('model_type'))} is unknown to the installed "
                f"transformers. Check the file, or install a newer transformers. {_VECTORS}"
            )


def _is_custom(where: str) -> str:
    return (
        f"{where}: it needs custom code, which runs with your permissions, so it is not run by "
        "default. Read it, and set trust_remote_code = true to run it. Or: "
        f"{_VECTORS}"
    )


def _no_pooling(folder: Folder) -> Iterator[str]:
    """Yield where the files leave out how the vector or the score of a text comes about."""
    if folder.chosen.pooling is not None or folder.chosen.kind != "dense":
        return
    config = folder.table("config.json")
    first = _architecture(folder)
    if folder.modules is None and (
        first.endswith((*_GENERATES, "ForMaskedLM"))
        or (first.endswith("Model") and folder.model_type("") in _DECODERS)
    ):
        yield (
            f"config.json declares the language model {first} and there is no modules.json, so "
            "neither its pooling nor its prompts are known. Give the folder that "
            'sentence-transformers saves, or set pooling = "mean", "cls" or "last" (the last '
            "token's vector, as decoders are mostly used), and prompts."
        )
    if folder.modules is None and {"vision_config", "audio_config"} & set(config):
        yield (
            f"config.json declares a model of images or sounds ({first}) and there is no "
            "modules.json that says how it reads texts. Give the folder that "
            f"sentence-transformers saves. {_VECTORS}"
        )
    declared = folder.table("config_sentence_transformers.json").get("model_type")
    if folder.modules is not None and declared != "CrossEncoder":
        names = [name for name, _ in folder.parts]
        paths = _transformers(folder)
        if paths and not _POOLERS & set(names) and not any(_pools(folder, path) for path in paths):
            yield (
                f"modules.json lists {', '.join(names)} and no Pooling: this model returns token "
                "vectors (late interaction, ColBERT) and no text vector. "
                f"{_RUN}"
            )


def _pools(folder: Folder, path: str) -> bool:
    """Tell whether a transformer module itself gives vectors of whole texts."""
    settings = folder.table(join(path, "sentence_bert_config.json"))
    return settings.get("module_output_name") == "sentence_embedding"


def _code(auto_map: object) -> str | None:
    """Return the class of a model or its configuration that an auto_map names, or None."""
    if not isinstance(auto_map, dict):
        return None
    return next(
        (
            str(value)
            for key, value in auto_map.items()
            if key.startswith(("AutoModel", "AutoConf"))
        ),
        None,
    )


def _is_native(model_type: str) -> bool:
    """Tell whether transformers has a class for a type of model, without importing it (5 s)."""
    found = importlib.util.find_spec("transformers")
    if found is None or found.origin is None:
        return False
    auto = Path(found.origin).parent / "models" / "auto"
    return any(f'("{model_type}", "' in path.read_text("utf-8") for path in auto.glob("*.py"))
