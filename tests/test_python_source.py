from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.collection.audit import audit
from harness.collection.load import build, load_raw
from harness.collection.python_source import first_sentence, functions_of
from harness.collection.raw import RawCollection
from harness.errors import HarnessError


@pytest.fixture(scope="module")
def stdlib() -> RawCollection:
    return load_raw("python:stdlib")


def test_methods_async_and_nested_functions_are_found():
    source = '''
class Reader:
    """Not a function."""

    @property
    def name(self):
        """Return the name."""
        return self._name

    @name.setter
    def name(self, value):
        """Change the name."""
        self._name = value

if True:
    async def fetch():
        """Fetch it."""
        def inner():
            """Do a part."""
            return 1
        return inner()
else:
    def undocumented():
        return 2
'''
    found = functions_of(source, module="m")
    assert [function.name for function in found] == [
        "m.Reader.name",
        "m.Reader.name#2",
        "m.fetch",
        "m.fetch.inner",
    ]
    assert found[0].code == "@property\ndef name(self):\n    return self._name"


def test_code_holds_no_docstring_not_even_of_functions_inside():
    source = '''
def outer():
    """Say one thing.

    At length.
    """
    def inner():
        """Say another thing."""
        text = """
keep me
"""
        return text
    return inner
'''
    outer, inner = functions_of(source, module="m")
    assert "thing" not in outer.code + inner.code
    assert "length" not in outer.code
    assert inner.code == 'def inner():\n    text = """\nkeep me\n"""\n    return text'


def test_function_without_code_or_with_its_docstring_among_code_is_left_out():
    source = 'def f():\n    "Only words."\n\ndef g(): "Words."; return 1\n'
    assert functions_of(source, module="m") == []


def test_form_feeds_do_not_shift_lines():
    source = 'x = "a\x0cb"\n\x0c\ndef f():\n    "Return one."\n    return 1\n'
    (found,) = functions_of(source, module="m")
    assert found.code == "def f():\n    return 1"


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Return it.  Then go.", "Return it."),
        ("\n    Return\n    it\n\n    Then go.", "Return it"),
        ("Read v1.2 of a file, i.e. all? No.", "Read v1.2 of a file, i.e. all?"),
        ("", ""),
    ],
)
def test_first_sentence_ends_at_a_stop_or_a_blank_line(docstring: str, sentence: str):
    assert first_sentence(docstring) == sentence


def write_package(folder: Path, **modules: str) -> None:
    folder.mkdir()
    (folder / "__init__.py").touch()
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")


def function(name: str, sentence: str, value: str) -> str:
    return f'def {name}():\n    """{sentence}"""\n    return {value}\n'


def test_package_is_split_by_module_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = {f"m{n}": function("f", f"Return the number {n}.", str(n)) for n in range(20)}
    write_package(tmp_path / "smallpkg", broken="def (", **modules)
    (tmp_path / "smallpkg" / "__init__.py").write_text("raise ImportError", encoding="utf-8")
    raw = load_raw("python:smallpkg")
    assert len(raw.documents.ids) == 20
    assert {"train", "test"} <= set(raw.splits)
    assert raw.splits["train"].relevant["q/smallpkg.m1.f"] == ("smallpkg.m1.f",)
    assert "smallpkg" not in sys.modules


def test_shared_sentences_and_texts_are_merged_within_a_split_and_dropped_across(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(tmp_path))
    # By their hashes, a and c are in train, and f in test.
    write_package(
        tmp_path / "twinpkg",
        a=function("one", "Return a lucky number.", "7")
        + function("leak", "Return a leaking sentence.", "1")
        + function("gone", "Return a leaking text.", "2"),
        c=function("two", "Return a lucky number.", "8")
        + function("one", "Return the same text.", "7"),
        f=function("leak2", "Return a leaking sentence.", "3")
        + function("gone", "Return with other words.", "2")
        + function("kept", "Return what is left.", "4"),
    )
    raw = load_raw("python:twinpkg")
    assert {name: dict(part.relevant) for name, part in raw.splits.items()} == {
        "train": {
            "q/twinpkg.a.one": ("twinpkg.a.one", "twinpkg.c.two"),
            "q/twinpkg.c.one": ("twinpkg.a.one",),
        },
        "test": {"q/twinpkg.f.kept": ("twinpkg.f.kept",)},
    }
    assert set(raw.documents.ids) == {"twinpkg.a.one", "twinpkg.c.two", "twinpkg.f.kept"}


def test_short_and_overused_sentences_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    often = "".join(function(f"f{n}", "Handle the next event.", str(n)) for n in range(6))
    good = function("good", "Return what is left.", "0")
    write_package(tmp_path / "wordpkg", a=function("f", "Too short.", "1") + often + good)
    assert load_raw("python:wordpkg").documents.ids == ("wordpkg.a.good",)


def test_unknown_package_suggests_the_nearest():
    with pytest.raises(HarnessError, match=r"python:nunpy: .* Did you mean 'numpy'\?"):
        load_raw("python:nunpy")


def test_module_without_python_source_is_an_expected_mistake():
    with pytest.raises(HarnessError, match="python:sys: no function with a docstring"):
        load_raw("python:sys")


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        ("License-Expression: MIT", "MIT"),
        ("License: BSD-3-Clause", "BSD-3-Clause"),
        ("License: line one\n        line two\nClassifier: License :: OSI Approved :: BSD", "BSD"),
        ("Summary: none stated", ""),
    ],
)
def test_licence_of_a_package_comes_from_its_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str, licence: str
):
    monkeypatch.syspath_prepend(str(tmp_path))
    write_package(tmp_path / "licpkg", a=function("f", "Return what is left.", "0"))
    info = tmp_path / "licpkg-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: licpkg\nVersion: 1.0\n{stated}\n", encoding="utf-8")
    (info / "top_level.txt").write_text("licpkg\n", encoding="utf-8")
    assert load_raw("python:licpkg").licence == licence


def test_licence_of_the_standard_library_is_that_of_python(stdlib: RawCollection):
    assert stdlib.licence == load_raw("python:json").licence == "PSF-2.0"


def test_standard_library_is_a_collection_of_useful_size(stdlib: RawCollection):
    sizes = {name: len(part.judgements) for name, part in stdlib.splits.items()}
    assert sizes["train"] > 2500
    assert sizes["dev"] > 100
    assert sizes["test"] > 1000


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_standard_library_passes_the_audit(stdlib: RawCollection, split: str):
    assert audit(stdlib, split) == ()


def test_query_ids_are_never_document_ids(stdlib: RawCollection):
    documents = set(stdlib.documents.ids)
    queries = stdlib.splits["test"].queries.ids
    assert not documents & set(queries)
    assert "json.decoder.JSONDecoder.decode" in documents
    assert "q/json.decoder.JSONDecoder.decode" in queries


def test_standard_library_is_the_same_in_every_process(stdlib: RawCollection):
    code = (
        "import json; from harness.collection.load import build, load_raw\n"
        "raw = load_raw('python:stdlib')\n"
        "print(json.dumps([build(raw, name='', split=s).key for s in ('dev', 'test', 'train')]))"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    here = [build(stdlib, name="", split=split).key for split in ("dev", "test", "train")]
    assert json.loads(other.stdout) == here
