"""`params.yaml` → one frozen, validated object. The only reader of that file.

Each block belongs to the stage or module of the same name, so DVC can depend on blocks and nobody reads another's
settings. Unknown keys are refused: a misspelt hyper-parameter must not fall back to a default in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import SOURCES, known_sources
from expunge.embeddings.settings import EmbedParams, IndexParams
from expunge.evaluation.settings import EvaluateParams, GateParams
from expunge.intake.settings import ServeParams
from expunge.lineage.settings import MlflowParams
from expunge.models.settings import ComputeParams, LoadingParams, ModelParams, TrainParams
from expunge.project.schema import Block, validated
from expunge.proof.settings import CertificateParams
from expunge.releases.settings import ReleaseParams
from expunge.requests.settings import LedgerParams
from expunge.selection.settings import SelectParams
from expunge.unlearning.methods import METHODS
from expunge.unlearning.settings import UnlearnParams

FROM_THE_START = ("retrain_text", "retrain_image", "retrain_both", "retrain")
"""Methods whose result has seen nothing because the weights that they start from had not."""


class Params(Block):
    """All of `params.yaml`."""

    seed: Annotated[int, Field(ge=0)] = 0
    compute: ComputeParams = ComputeParams()
    loading: LoadingParams = LoadingParams()
    catalog: CatalogParams = CatalogParams()
    model: ModelParams
    train: TrainParams
    embed: EmbedParams = EmbedParams()
    index: IndexParams = IndexParams()
    select: SelectParams = SelectParams()
    unlearn: UnlearnParams
    evaluate: EvaluateParams = EvaluateParams()
    gate: GateParams
    release: ReleaseParams
    ledger: LedgerParams = LedgerParams()
    serve: ServeParams = ServeParams()
    mlflow: MlflowParams = MlflowParams()
    certificate: CertificateParams = CertificateParams()

    @model_validator(mode="after")
    def _known_names(self) -> Params:
        """Only names are checked here; a source or a method checks its own settings when it is used."""
        if self.catalog.source not in SOURCES and self.catalog.source not in (known := known_sources()):
            raise ValueError(f"catalog.source: unknown source; known are {', '.join(known)}")
        for key, name in (
            *(("release.methods", x) for x in self.release.methods),
            *(("unlearn.methods", x) for x in self.unlearn.methods),
        ):
            if name not in METHODS:
                raise ValueError(f"{key}: unknown method {name!r}; known are {', '.join(METHODS)}")
        for name in self.release.methods:
            if name not in self.unlearn.methods:
                raise ValueError(f"release.methods: {name!r} has no block in unlearn.methods")
        if self.loading.workers and self.train.aug_cfg is None and self.train.external is None:
            raise ValueError(
                "loading.workers decode and augment pictures by train.aug_cfg, and there is none; `aug_cfg: {}` does"
            )
        elsewhere = self.train.external is not None and self.train.external.retrain is None
        if elsewhere and (self.release.gold or "retrain" in self.release.methods):
            raise ValueError(
                "train.external names no command `retrain`, so there is no gold standard: set release.gold to false "
                "and leave `retrain` out of release.methods"
            )
        begun = [name for name in self.release.methods if name in FROM_THE_START]
        if self.train.epochs == 0 and self.train.external is None and self.model.pretrained is not None and begun:
            raise ValueError(
                f"{begun[0]} starts from the weights that training began from, and with train.epochs 0 these are the "
                "base model's own: name the finished model as train.external.checkpoint and what its training began "
                "from as model.pretrained, or choose other release.methods"
            )
        if len(set(self.release.methods)) < len(self.release.methods):
            raise ValueError("release.methods: a method stands twice; name each once")
        return self


def load_params(path: Path = Path("params.yaml")) -> Params:
    """The validated settings of this project."""
    return validated(Params, path)
