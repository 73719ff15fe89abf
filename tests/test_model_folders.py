"""A folder that is broken, hostile or of another kind is refused by its files, in sentences."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import DIMENSION, save_cross_encoder

from harness.errors import ExitCode, HarnessError
from harness.models.weights import Weights, find_weights

Change = Callable[[Path], None]

TANH = "torch.nn.modules.activation.Tanh"
DENSE = {"in_features": DIMENSION, "out_features": 8, "bias": True, "activation_function": TANH}
DEEP = "[" * 100_000 + "]" * 100_000


def update(file: str, **keys: Any) -> Change:
    """Return a change of some keys of a JSON file, which is made where it is missing."""

    def change(folder: Path) -> None:
        path = folder / file
        value = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(value | keys))

    return change


def write(file: str, body: str | bytes) -> Change:
    def change(folder: Path) -> None:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body.encode() if isinstance(body, str) else body)

    return change


def remove(file: str) -> Change:
    return lambda folder: (folder / file).unlink()


def module(row: int, **keys: Any) -> Change:
    """Return a change of one entry of modules.json."""

    def change(folder: Path) -> None:
        path = folder / "modules.json"
        listed = json.loads(path.read_text())
        listed[row] |= keys
        path.write_text(json.dumps(listed))

    return change


def without(row: int, key: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "modules.json"
        listed = json.loads(path.read_text())
        del listed[row][key]
        path.write_text(json.dumps(listed))

    return change


def header(key: str, value: Any) -> Change:
    """Return a change of what the safetensors header says of every tensor."""

    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        body = path.read_bytes()
        [length] = struct.unpack("<Q", body[:8])
        told = json.loads(body[8 : 8 + length])
        for name, entry in told.items():
            if name != "__metadata__":
                entry[key] = value
        text = json.dumps(told).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + body[8 + length :])

    return change


def dense(**keys: Any) -> Change:
    """Return a change that appends a Dense module with weights."""

    def change(folder: Path) -> None:
        import torch
        from safetensors.torch import save_file

        path = folder / "modules.json"
        kind = "sentence_transformers.models.Dense"
        more = {"idx": 2, "name": "2", "path": "2_Dense", "type": kind}
        path.write_text(json.dumps([*json.loads(path.read_text()), more]))
        write("2_Dense/config.json", json.dumps(DENSE | keys))(folder)
        tensors = {"linear.weight": torch.ones(8, DIMENSION), "linear.bias": torch.zeros(8)}
        save_file(tensors, folder / "2_Dense" / "model.safetensors")

    return change


def changed(source: Path, target: Path, *changes: Change) -> Path:
    shutil.copytree(source, target)
    for change in changes:
        change(target)
    return target


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(HarnessError) as refused:
        find_weights(str(folder))
    assert refused.value.exit_code is ExitCode.USAGE
    for problem in refused.value.problems:
        assert problem.startswith(f"'{folder}': "), problem
        assert problem.endswith((".", "}.")), problem
    return refused.value.problems


def read(folder: Path) -> Weights:
    return find_weights(str(folder))


BROKEN = {
    **{
        f"modules.json is {body[:9]!r}": (write("modules.json", body), "modules.json")
        for body in ("null", "[1, 2]", "[]", '"x"', "{}", "[{", "[null]", "[NaN]", DEEP)
    },
    "modules.json is binary": (write("modules.json", b"\xff\xfe"), "is not JSON"),
    "a module without path": (without(1, "path"), "module 1 needs texts"),
    "a module without type": (without(1, "type"), "module 1 needs texts"),
    "a module without name": (without(1, "name"), "module 1 needs texts"),
    "a type of 5": (module(1, type=5), "module 1 needs texts"),
    "a path of null": (module(1, path=None), "module 1 needs texts"),
    "a path outside": (module(1, path="../x"), "leaves the folder"),
    "an absolute path": (module(1, path="/etc"), "leaves the folder"),
    "one name twice": (module(1, name="0"), "two modules have one name"),
    "a module that is none": (
        module(1, type="sentence_transformers.util.os"),
        "not a module of sentence-transformers",
    ),
    "an evaluation": (
        module(1, type="sentence_transformers.evaluation.Pooling"),
        "not a module of sentence-transformers",
    ),
    **{
        f"config.json is {body[:9]!r}": (write("config.json", body), "config.json")
        for body in ("null", "[1]", "{", "{}", DEEP)
    },
    **{
        f"{key} = {value!r}": (update("config.json", **{key: value}), key)
        for key, values in {
            "hidden_size": ["x", None, -1, 0, 1.5, [16], 10**9, True, 17],
            "num_hidden_layers": ["x", None, 10**9, 50_000, 3, -1],
            "max_position_embeddings": ["x", -1, [1], 7, 10**12],
            "vocab_size": ["x", 10**9, 3],
            "intermediate_size": ["x", 10**8],
            "num_attention_heads": ["x", 0],
            "num_labels": ["x", 10**9],
            "architectures": ["BertModel", [5], 5],
            "model_type": ["nope", 5, None, ["bert"]],
            "id2label": [["x"], {}],
            "_attn_implementation": ["kernels-community/x"],
            "attn_implementation": ["org/kernel", 5],
            "sentence_transformers": ["x", ["activation_fn"]],
        }.items()
        for value in values
    },
    **{
        f"max_seq_length = {value!r}": (
            update("sentence_bert_config.json", max_seq_length=value),
            "max_seq_length must be",
        )
        for value in ("x", -1, 0, 1.5, [1], 1e30, True, {}, 10**18)
    },
    **{
        f"prompts = {value!r}": (
            update("config_sentence_transformers.json", prompts=value),
            "'prompts' must be a table of texts",
        )
        for value in (["a"], "x", {"query": 5}, {"query": ["a"]}, None, 5)
    },
    **{
        f"quantised by {value!r}": (
            update("config.json", quantization_config=value),
            "declares quantised weights",
        )
        for value in ({"quant_method": "bitsandbytes"}, "x", {})
    },
    "another default prompt": (
        update("config_sentence_transformers.json", default_prompt_name="nope"),
        "default_prompt_name",
    ),
    "a default prompt that is a list": (
        update("config_sentence_transformers.json", default_prompt_name=["a"]),
        "default_prompt_name",
    ),
    "similarity_fn_name = [1]": (
        update("config_sentence_transformers.json", similarity_fn_name=[1]),
        "similarity_fn_name",
    ),
    "an unknown model_type": (
        update("config_sentence_transformers.json", model_type="Nope"),
        'model_type "Nope" is unknown',
    ),
    "weights_only = false": (
        update("sentence_bert_config.json", model_kwargs={"weights_only": False}),
        "'weights_only' = false",
    ),
    "an attention from the hub": (
        update("sentence_bert_config.json", model_kwargs={"attn_implementation": "org/kernel"}),
        "would fetch code",
    ),
    "arguments that are a list": (
        update("sentence_bert_config.json", config_args=[1]),
        "'config_args' must be a table",
    ),
    **{
        f"a width of {value!r}": (
            write("1_Pooling/config.json", json.dumps({"word_embedding_dimension": value})),
            "the width",
        )
        for value in ("x", None, -1, 1.5, 99)
    },
    "no settings of the pooling": (remove("1_Pooling/config.json"), "config.json is missing"),
    "an unknown pooling": (update("1_Pooling/config.json", pooling_mode="nope"), "pooling_mode"),
    **{
        f"tensors with {key} = {value!r}": (header(key, value), "not a whole safetensors file")
        for key, value in (
            ("shape", ["a", "b"]),
            ("shape", [-1, 4]),
            ("shape", None),
            ("dtype", "X9"),
            ("data_offsets", ["a", 1]),
        )
    },
    "weights of 64 bytes": (write("model.safetensors", b"\xff" * 64), "not a whole safetensors"),
    **{
        f"a tokenizer of {body[:9]!r}": (write("tokenizer.json", body), "is no tokenizer")
        for body in ("{", "null", "[]", "", '{"model": {}, "added_tokens": []}', DEEP)
    },
    "no tokenizer": (remove("tokenizer.json"), "no tokenizer lies beside"),
    "a Dense of text": (dense(out_features="x"), "out_features must be"),
    "a Dense of null": (dense(out_features=None), "out_features must be"),
    "an adapter": (write("adapter_config.json", "{}"), "this is an adapter (PEFT, LoRA)"),
    "shards that are missing": (
        write("model.safetensors.index.json", '{"weight_map": {"a": "model-1.safetensors"}}'),
        "names 1 files that are missing (model-1.safetensors)",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_refused_with_the_place(bert_model: Path, tmp_path: Path, name: str):
    change, said = BROKEN[name]
    assert any(said in each for each in problems_of(changed(bert_model, tmp_path / "m", change)))


def test_all_that_is_wrong_with_a_folder_is_said_at_once(bert_model: Path, tmp_path: Path):
    folder = changed(
        bert_model,
        tmp_path / "m",
        update("config.json", hidden_size="x"),
        update("sentence_bert_config.json", max_seq_length=-1),
        remove("tokenizer.json"),
    )
    assert len(problems_of(folder)) == 3


def renamed(folder: Path, start: str) -> None:
    """Put a word before the name of every tensor."""
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    save_file({f"{start}{key}": each for key, each in load_file(path).items()}, path)


OTHER_KINDS = {
    "SPLADE": (
        module(1, type="sentence_transformers.sparse_encoder.models.SpladePooling"),
        "this is a sparse encoder (SPLADE)",
    ),
    "a declared sparse encoder": (
        update("config_sentence_transformers.json", model_type="SparseEncoder"),
        "config_sentence_transformers.json says SparseEncoder",
    ),
    "PyLate": (
        module(1, type="pylate.models.Dense.Dense"),
        "this is a late-interaction model (ColBERT)",
    ),
    "several vectors a text": (
        update("config_sentence_transformers.json", model_type="MultiVectorEncoder"),
        "this is a late-interaction model (ColBERT)",
    ),
    "no pooling": (
        lambda folder: (folder / "modules.json").write_text(
            json.dumps(json.loads((folder / "modules.json").read_text())[:1])
        ),
        "no Pooling",
    ),
    "code for a type of its own": (
        update("config.json", model_type="mine", auto_map={"AutoModel": "evil.Evil"}),
        "it is not run by default. Read it, and set trust_remote_code = true to run it",
    ),
    "BERT that is declared as RoBERTa": (
        update("config.json", model_type="roberta"),
        'config.json says model_type "roberta", and architectures names a class of bert',
    ),
    "BERT whose tensors are named so, declared as RoBERTa": (
        lambda folder: (
            renamed(folder, "bert."),
            update("config.json", model_type="roberta", architectures=["RobertaModel"])(folder),
        ),
        'config.json says model_type "roberta", and its weights are named bert.…',
    ),
    "BERT that is declared as DistilBERT": (
        update("config.json", model_type="distilbert", architectures=None),
        "its weights have names such as encoder.layer.0.attention.self.query.…",
    ),
    "code for a module": (module(1, type="evil.Evil"), "it is not run by default"),
}


@pytest.mark.parametrize("name", OTHER_KINDS)
def test_another_kind_of_model_is_named(bert_model: Path, tmp_path: Path, name: str):
    change, said = OTHER_KINDS[name]
    [problem] = problems_of(changed(bert_model, tmp_path / "m", change))
    assert said in problem


def test_a_sparse_model_of_null_width_is_refused_like_any_other(bert_model: Path, tmp_path: Path):
    settings = json.dumps({"pooling_strategy": "max", "word_embedding_dimension": None})
    kind = "sentence_transformers.sparse_encoder.models.SpladePooling"
    folder = changed(
        bert_model, tmp_path / "m", module(1, type=kind), write("1_Pooling/config.json", settings)
    )
    [problem] = problems_of(folder)
    assert "this is a sparse encoder" in problem


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}, "language model"),
        ({"architectures": ["MistralModel"], "model_type": "mistral"}, "language model"),
        ({"architectures": ["BertForMaskedLM"]}, 'set pooling = "mean", "cls" or "last"'),
        ({"architectures": ["HF_ColBERT"]}, "late-interaction"),
        ({"vision_config": {}}, "images or sounds"),
    ],
)
def test_a_bare_transformer_of_another_kind_is_named(
    bert_model: Path, tmp_path: Path, keys: dict[str, Any], said: str
):
    plain = bert_model.parent / "plain"
    [problem] = problems_of(changed(plain, tmp_path / "m", update("config.json", **keys)))
    assert said in problem


@pytest.mark.parametrize(
    ("file", "said"), [("model.gguf", "GGUF"), ("model.onnx", "ONNX"), ("tf_model.h5", "TensorF")]
)
def test_weights_of_another_program_are_named(
    bert_model: Path, tmp_path: Path, file: str, said: str
):
    change = remove("model.safetensors")
    [problem] = problems_of(changed(bert_model, tmp_path / "m", change, write(file, b"x")))
    assert f"holds {said}" in problem


ACTIVATIONS = (
    *("torch.utils.collect_env.main", "torch.hub.list", "torch.nn.Linear", "torch.os"),
    *("evil.Evil", "os.system", "Sigmoid", "", 5, ["torch.nn.Tanh"]),
)
PLACES: dict[str, Callable[[Any], Change]] = {
    "config": lambda name: update("config.json", sentence_transformers={"activation_fn": name}),
    "old": lambda name: update("config.json", sbert_ce_default_activation_function=name),
    "new": lambda name: update(
        "config_sentence_transformers.json", model_type="CrossEncoder", activation_fn=name
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_only_an_activation_of_torch_may_be_named_by_a_cross_encoder(
    cross_encoder: Path, tmp_path: Path, place: str, name: Any
):
    [problem] = problems_of(changed(cross_encoder, tmp_path / "m", PLACES[place](name)))
    assert "is no activation of torch.nn that is known here" in problem


@pytest.mark.parametrize("place", PLACES)
def test_the_usual_activations_are_read(cross_encoder: Path, tmp_path: Path, place: str):
    for name in ("torch.nn.modules.linear.Identity", "torch.nn.Sigmoid", TANH):
        folder = changed(cross_encoder, tmp_path / name, PLACES[place](name))
        assert read(folder).labels == 1


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name is not None])
def test_only_an_activation_of_torch_may_be_named_by_a_dense_module(
    bert_model: Path, tmp_path: Path, name: Any
):
    [problem] = problems_of(changed(bert_model, tmp_path / "m", dense(activation_function=name)))
    assert "2_Dense/config.json: activation_function" in problem


def test_a_dense_module_is_as_wide_as_it_says(bert_model: Path, tmp_path: Path):
    assert read(changed(bert_model, tmp_path / "m", dense())).dimension == 8


def test_concatenated_poolings_are_as_wide_as_all_of_them(bert_model: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    new = changed(
        bert_model, tmp_path / "new", update("1_Pooling/config.json", pooling_mode=["cls", "mean"])
    )
    old = {"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}
    settings = json.dumps({"word_embedding_dimension": DIMENSION, **old})
    legacy = changed(bert_model, tmp_path / "old", write("1_Pooling/config.json", settings))
    for folder in (new, legacy):
        model = SentenceTransformer(str(folder), device="cpu")
        assert read(folder).dimension == model.get_embedding_dimension() == 2 * DIMENSION


def test_the_labels_of_a_cross_encoder_are_read_from_its_files(
    cross_encoder: Path, bert_model: Path, tmp_path: Path
):
    assert read(cross_encoder).labels == 1
    assert read(save_cross_encoder(tmp_path / "two", seed=1, labels=2)).labels == 2
    headless = update("config.json", architectures=["BertForSequenceClassification"])
    assert read(changed(bert_model.parent / "plain", tmp_path / "m", headless)).labels == 0
    assert read(bert_model).labels is None


# The canary: whatever names code, nothing of it runs, at planning or at loading.


class Canary:
    """What would leave a file behind if a pickle ran it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.mark}",))


def evil(mark: Path) -> Change:
    """Return a change that adds a module of Python which leaves a file behind."""
    code = (
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
        "class Evil:\n    pass\nclass Config:\n    pass\n"
    )
    return write("evil.py", code)


CODE = {"AutoConfig": "evil.Config", "AutoModel": "evil.Evil"}
TRUSTING = {"trust_remote_code": True}


@pytest.mark.parametrize(
    "change",
    [
        module(1, type="evil.Evil"),
        update("config.json", model_type="mine", auto_map=CODE),
        update("config.json", auto_map=CODE, trust_remote_code=True),
        update("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}),
        update("sentence_bert_config.json", model_args=TRUSTING, config_args=TRUSTING),
        update("config_sentence_transformers.json", trust_remote_code=True),
        update("processor_config.json", auto_map={"AutoProcessor": "evil.Evil"}),
    ],
)
def test_code_of_a_folder_never_runs(bert_model: Path, tmp_path: Path, change: Change):
    from harness.models.biencoder import BiEncoder

    mark = tmp_path / "mark"
    folder = changed(bert_model, tmp_path / "m", evil(mark), change)
    try:
        BiEncoder(read(folder), device="cpu").encode(["ba"], role="query", prompt="")
    except HarnessError as error:
        assert "custom code" in str(error)  # noqa: PT017 - some of these load with no code at all
    assert not mark.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["bert_model", "cross_encoder", "static_model"])
def test_a_pickle_never_runs(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, *, zipped: bool
):
    import torch

    mark = tmp_path / "mark"
    folder = changed(request.getfixturevalue(kind), tmp_path / "m", remove("model.safetensors"))
    held = {"embedding.weight": Canary(mark)}
    if zipped:
        torch.save(held, folder / "pytorch_model.bin")
    else:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(held))
    [problem] = problems_of(folder)
    assert "is pickled and holds more than tensors, or is damaged; it is not loaded" in problem
    assert "Give the weights as safetensors." in problem
    assert not mark.exists()


def test_pickled_tensors_are_read(bert_model: Path, tmp_path: Path):
    import torch
    from safetensors.torch import load_file

    from harness.models.biencoder import BiEncoder

    folder = changed(bert_model, tmp_path / "m", remove("model.safetensors"))
    torch.save(load_file(bert_model / "model.safetensors"), folder / "pytorch_model.bin")
    texts = ["ba be", "bi"]
    one, other = (
        BiEncoder(read(each), device="cpu").encode(texts, role="query", prompt="")
        for each in (bert_model, folder)
    )
    assert (one == other).all()


def test_code_that_transformers_own_class_stands_in_for_is_doubtful(
    bert_model: Path, tmp_path: Path
):
    folder = changed(bert_model, tmp_path / "m", update("config.json", auto_map=CODE))
    [doubt] = read(folder).doubts
    assert "names code of its own (evil.Config), which is not run here" in doubt
    assert read(bert_model).doubts == ()


def test_weights_under_other_names_are_refused_rather_than_drawn_at_random(
    bert_model: Path, tmp_path: Path
):
    from safetensors.torch import load_file, save_file

    from harness.models.biencoder import BiEncoder

    folder = changed(bert_model, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    renamed = {f"other.{name}": tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HarnessError, match="the model would be random"):
        BiEncoder(read(folder), device="cpu")


def test_layers_that_no_weights_are_for_are_refused_rather_than_drawn_at_random(
    bert_model: Path, tmp_path: Path
):
    from safetensors.torch import load_file, save_file

    from harness.models.biencoder import BiEncoder

    refused = r"leads to \(encoder\.layer\.0\.\S+\), so the model"
    change = update("config.json", model_type="deberta-v2", architectures=None)
    with pytest.raises(HarnessError, match=refused):
        BiEncoder(read(changed(bert_model, tmp_path / "family", change)), device="cpu")
    folder = changed(bert_model, tmp_path / "name")
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("0.attention", "0.attentive"): each for name, each in tensors.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HarnessError, match=refused):
        BiEncoder(read(folder), device="cpu")
    BiEncoder(read(bert_model), device="cpu")


def test_a_tokenizer_at_which_its_library_panics_is_refused(static_model: Path, tmp_path: Path):
    panics = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
        "pair": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
        "special_tokens": {},
    }
    [file] = static_model.rglob("tokenizer.json")
    name = file.relative_to(static_model).as_posix()
    folder = changed(static_model, tmp_path / "m", update(name, post_processor=panics))
    with pytest.raises(HarnessError, match="is no tokenizer"):
        read(folder)


def test_the_prompts_are_those_that_sentence_transformers_applies(bert_model: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    for row, prompts in enumerate(
        [
            {},
            {"query": "ba "},
            {"query": "ba ", "document": "be "},
            {"query": "ba ", "passage": "be "},
            {"query": "ba ", "corpus": "be "},
            {"query": None, "document": "", "passage": "be "},
            {"s2p_query": "ba "},
        ]
    ):
        change = update(
            "config_sentence_transformers.json", prompts=prompts, default_prompt_name=None
        )
        folder = changed(bert_model, tmp_path / str(row), change)
        model, weights = SentenceTransformer(str(folder), device="cpu"), read(folder)
        for role, encode in (("query", model.encode_query), ("document", model.encode_document)):
            mine = encode("bo ko", prompt=weights.prompts.get(role, ""))
            assert (encode("bo ko") == mine).all(), (prompts, role)
        others = {"passage", "corpus", "s2p_query"} & set(prompts)
        assert set(weights.unapplied) == others
