"""What a forked command finds imported and loaded: the server of `command_line` imports this."""

from __future__ import annotations

import gc
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import typer.main
from conftest import write_beir, write_suite

import harness
import reports
from harness.cli.verbs import app
from harness.collection.language import detect_language
from harness.environment import versions
from harness.retrieval import latency
from harness.suite.table import Spec
from harness.value import Value
from reports import drawing, html

PACKAGES = (
    *("sentence_transformers.sentence_transformer.modules", "sentence_transformers.models"),
    *("transformers.masking_utils", "bm25s", "Stemmer", "faiss"),
    *("numba.core.inline_closurecall", "numba.np.arrayobj"),
    *("sklearn.feature_extraction.text", "sklearn.isotonic", "sklearn.manifold"),
    *("transformers.models.bert.modeling_bert", "mteb", "openai.resources.chat"),
)

gc.disable()  # while all that is imported stays
for package in (harness, reports):
    for module in walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.startswith("reports.app"):  # a server of its own
            import_module(module.name)
for name in PACKAGES:
    import_module(name)
for base in (Spec, Value):
    built = [base]
    for model in built:  # which grows
        model.model_rebuild()
        built += model.__subclasses__()
versions()
html.template(interactive=False)
drawing.frame(height=100)  # loads more of plotly
detect_language(["Words that tell a language."])  # loads its model
# No timing is marked, as in `conftest`: other work may run beside the tests.
latency.calibrate = lambda: latency.Calibration(1.0, 1.0, 0.0)
# What is made when it is first used: commands, tables of suites and results, figures, pages.
typer.main.get_command = cache(typer.main.get_command)
typer.main.get_command(app)
with tempfile.TemporaryDirectory() as place:
    notes = write_beir(
        Path(place, "notes"),
        documents={f"d{row}": f"a note on number {row}" for row in range(4)},
        queries={f"q{row}": f"number {row}" for row in range(4)},
        qrels={"test": [(f"q{row}", f"d{row}", 1) for row in range(4)]},
    )
    text = 'baseline = "words"\n[candidates]\nwords = { kind = "bm25" }\n'
    text += f'less = {{ kind = "bm25", k1 = 0.5 }}\n[collections.notes]\nsource = "beir:{notes}"\n'
    path = write_suite(notes / "suite.toml", text)
    suite = harness.load(path, store=notes / "store", results=notes / "results", progress=False)
    suite.run()  # of words alone: no thread of torch is there yet when commands are forked
    suite.decide()
gc.enable()
gc.collect()
gc.freeze()  # what was loaded is garbage in no command
