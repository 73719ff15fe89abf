"""Dense: a bi-encoder as it was published."""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import ExitCode, HarnessError
from harness.models.folder import Choices
from harness.models.prompts import PLACE, Template, known_prompts, template_of
from harness.models.source import Given
from harness.models.weights import Weights
from harness.plan.candidates import DenseBuilder
from harness.plan.dense import DenseModel, given_prompts, loading_problems
from harness.retrieval.precision import arithmetics
from harness.store import Store
from harness.suite.kinds.dense import Dense, Prompts

# Prompts that are meant for documents, by the names that sentence-transformers knows.
_DOCUMENT_NAMES = {"passage", "corpus"}


class ModelBuilder(DenseBuilder[Dense]):
    """A bi-encoder as it was published."""

    def dense(self) -> DenseModel:
        """Return the model as published; what the suite leaves open, its files declare.

        Raises:
            HarnessError: the weights are no bi-encoder that is searched by inner product.
        """
        spec = self.spec
        weights = self.weights
        if weights is not None and weights.layout == "cross-encoder":
            raise HarnessError(
                f"'{spec.model}' is a cross-encoder and has no vectors. "
                "Use it to rerank: rerank = { model = … }.",
                exit_code=ExitCode.USAGE,
            )
        prompts = given_prompts(weights, spec.prompts)
        template = self._template(prompts[0])
        if template is not None:
            prompts = (template.prompt, prompts[1])
        similarity = spec.similarity or (weights.similarity if weights else None) or "cosine"
        if similarity not in {"cosine", "dot"}:
            raise HarnessError(
                f"'{spec.model}' declares the similarity '{similarity}'; search is by inner "
                'product. Set similarity = "cosine" or "dot".',
                exit_code=ExitCode.USAGE,
            )
        self._warn(weights, prompts)
        return DenseModel(
            owner=self.name,
            model=Given(weights),
            prompts=prompts,
            max_length=spec.max_length,
            similarity="dot" if similarity == "dot" else "cosine",
            dimension=weights.dimension if weights is not None else None,
            width=None,
            trained_widths=tuple(spec.matryoshka),
            arithmetics=arithmetics(spec.dtype, spec.engine, self.planner.device),
            texts=sum(
                len(each.documents) + len(each.queries)
                for each in self.planner.collections.values()
            ),
            instruction=template.instruction or None if template is not None else None,
        )

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with how it is to be loaded."""
        yield from loading_problems(self.weights, self.spec, self.planner.device)

    def family(self, store: Store) -> str:
        """Return the key of the weights: the same model fails alike under any name."""
        model = self.planner.dense(self.name).model
        weights = model.weights(store) if model else None
        return weights.key if weights else self.name

    @property
    def weights(self) -> Weights | None:
        """The model's files; None before their download."""
        spec = self.spec
        chosen = Choices(spec.pooling, spec.trust_remote_code)
        return self.planner.find_weights(spec.model, spec.revision, chosen)

    def _template(self, prompt: str) -> Template | None:
        """Return the declared or known query prompt as a template, where the suite gives none.

        It is one only where a collection has an instruction to put there.
        """
        spec, collections = self.spec, self.planner.suite.collections.values()
        if spec.prompts.query is not None or not any(each.instruction for each in collections):
            return None
        known = known_prompts(spec.model)
        if not prompt and known is not None and PLACE in known.query:
            return Template(known.query, "")
        return template_of(prompt)

    def _warn(self, weights: Weights | None, prompts: tuple[str, str]) -> None:
        spec, warnings = self.spec, self.planner.warnings
        known = known_prompts(spec.model)
        if known is not None and prompts == ("", "") and spec.prompts == Prompts():
            warnings.append(
                f"'{self.name}': models of this name were trained with prompts (query "
                f"{known.query!r}, document {known.document!r}), but none is declared or given. "
                'Set prompts = { query = …, document = … }, to "" if there are none'
                f"{'; or instruction in [collections.…]' if PLACE in known.query else ''}."
            )
        if weights is not None:
            warnings += [f"'{self.name}': {each}" for each in weights.doubts]
            warnings += [f"'{self.name}': {each}" for each in unapplied(weights, spec)]
        if weights is not None and weights.layout == "transformer" and spec.pooling is None:
            warnings.append(
                f"'{self.name}': '{spec.model}' has no modules.json, so its files "
                "declare no pooling and no prompts; sentence-transformers uses mean pooling. If it "
                "was trained differently, give the folder that sentence-transformers saved, or set "
                'pooling = "mean", "cls" or "last".'
            )
        if spec.max_length is not None and weights is not None and weights.is_static:
            warnings.append(
                f"'{self.name}': '{spec.model}' is static and reads every text whole; "
                "max_length changes nothing. Remove it."
            )
        declared = weights.similarity if weights is not None else None
        if declared and spec.similarity and declared != spec.similarity:
            warnings.append(
                f"'{self.name}': the model declares the similarity '{declared}', but the "
                f"suite sets '{spec.similarity}'. Remove similarity unless intended."
            )


def unapplied(weights: Weights, spec: Dense) -> Iterator[str]:
    """Yield a sentence where a model declares a prompt for a side and none is put before its texts.

    sentence-transformers' `encode_document` knows the prompts "passage" and "corpus" by name, too,
    but since release 5 it finds the empty prompt "document" first, so that none is applied.
    """
    for role, given, names in (
        ("query", spec.prompts.query, set(weights.unapplied) - _DOCUMENT_NAMES),
        ("document", spec.prompts.document, set(weights.unapplied)),
    ):
        near = names & _DOCUMENT_NAMES or (names if role not in weights.prompts else set())
        if given is None and near and not weights.prompts.get(role):
            listed = ", ".join(f"{name} = {weights.unapplied[name]!r}" for name in sorted(near))
            yield (
                f"'{spec.model}' declares the prompts {listed}, and none named '{role}'; as in "
                f"sentence-transformers' encode_{role}, no prompt is put before its texts. Set "
                f'prompts = {{ {role} = "…" }}, to "" to keep it so.'
            )
