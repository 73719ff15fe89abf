"""Kinds of candidates: what each does, as models, vectors, runs and steps; one module each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.plan.candidates import Builder
from harness.plan.kinds.api import ApiBuilder, ApiRerankBuilder
from harness.plan.kinds.bm25 import Bm25Builder
from harness.plan.kinds.dense import ModelBuilder
from harness.plan.kinds.finetune import FinetuneBuilder
from harness.plan.kinds.fuse import FuseBuilder
from harness.plan.kinds.index import IndexBuilder
from harness.plan.kinds.interpolate import InterpolateBuilder
from harness.plan.kinds.multi_vector import MultiVectorBuilder
from harness.plan.kinds.own import FactoryBuilder, MtebBuilder, MtebRerankBuilder, OwnRerankBuilder
from harness.plan.kinds.quantize import QuantizeBuilder
from harness.plan.kinds.query_model import ApiAskedBuilder, DenseAskedBuilder, QueryModelBuilder
from harness.plan.kinds.rerank import RerankBuilder
from harness.plan.kinds.retriever import RetrieverBuilder
from harness.plan.kinds.run import RunBuilder
from harness.plan.kinds.sparse import SparseBuilder
from harness.plan.kinds.truncate import TruncateBuilder
from harness.plan.kinds.vectors import VectorsBuilder
from harness.suite.kinds.api import Api, ApiReranking
from harness.suite.kinds.bm25 import Bm25
from harness.suite.kinds.dense import Dense
from harness.suite.kinds.finetune import Finetune
from harness.suite.kinds.fuse import Fuse
from harness.suite.kinds.index import Index
from harness.suite.kinds.interpolate import Interpolate
from harness.suite.kinds.kind import CandidateSpec
from harness.suite.kinds.multi_vector import MultiVector
from harness.suite.kinds.own import Factory, Mteb, MtebReranking, OwnReranking
from harness.suite.kinds.quantize import Quantize
from harness.suite.kinds.query_model import ApiAsked, DenseAsked, QueryModel
from harness.suite.kinds.rerank import Reranking
from harness.suite.kinds.retriever import Retriever
from harness.suite.kinds.run import RunFile
from harness.suite.kinds.sparse import Sparse
from harness.suite.kinds.truncate import Truncate
from harness.suite.kinds.vectors import VectorFiles

BUILDERS: Mapping[type[CandidateSpec], type[Builder[Any]]] = {
    Bm25: Bm25Builder,
    Dense: ModelBuilder,
    Api: ApiBuilder,
    ApiReranking: ApiRerankBuilder,
    Sparse: SparseBuilder,
    MultiVector: MultiVectorBuilder,
    Mteb: MtebBuilder,
    Factory: FactoryBuilder,
    MtebReranking: MtebRerankBuilder,
    OwnReranking: OwnRerankBuilder,
    RunFile: RunBuilder,
    Retriever: RetrieverBuilder,
    VectorFiles: VectorsBuilder,
    Truncate: TruncateBuilder,
    Quantize: QuantizeBuilder,
    Index: IndexBuilder,
    QueryModel: QueryModelBuilder,
    DenseAsked: DenseAskedBuilder,
    ApiAsked: ApiAskedBuilder,
    Reranking: RerankBuilder,
    Finetune: FinetuneBuilder,
    Interpolate: InterpolateBuilder,
    Fuse: FuseBuilder,
}
