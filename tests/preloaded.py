"""What a forked command finds imported and loaded: the server of `command_line` imports this."""

from __future__ import annotations

import gc
from importlib import import_module
from pkgutil import walk_packages

import harness
import reports
from harness.collection.language import detect_language
from harness.environment import versions
from harness.retrieval import latency
from harness.suite.table import Spec
from harness.value import Value
from reports import drawing, html

PACKAGES = (
    *("sentence_transformers.sentence_transformer.modules", "sentence_transformers.models"),
    *("transformers.masking_utils", "ranx.metrics", "bm25s", "Stemmer", "faiss"),
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
gc.enable()
gc.collect()
gc.freeze()  # what was loaded is garbage in no command
