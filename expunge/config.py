"""`params.yaml` → one frozen, validated object. The only reader of that file.

Each block belongs to the stage or module of the same name, so DVC can depend on blocks and nobody reads another's
settings. Unknown keys are refused: a misspelt hyper-parameter must not fall back to a default in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from expunge.errors import ExpungeError

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Model = TypeVar("Model", bound=BaseModel)


class Block(BaseModel):
    """A frozen block of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ComputeParams(Block):
    """Where the tensors live. `auto` takes a GPU when there is one; bits are reproducible on CPU only."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(0, ge=0, description="CPU threads of torch; 0 leaves torch's own choice")
    precision: Literal["bf16", "fp32"] = "bf16"


class HoldoutParams(Block):
    """Shares of the corpus that are never trained on."""

    calibration: Fraction = 0.08
    test_concepts: Fraction = 0.03
    test_variants: Fraction = 0.05


class CatalogParams(Block):
    """What the catalog is made of."""

    source: str = "openmoji"
    image_size: Annotated[int, Field(ge=16, le=1024)] = 64
    languages: tuple[str, ...] = ("en", "de", "es", "fr", "zh")
    rows_per_shard: Count = 512
    limit: Annotated[int, Field(ge=0)] = 0
    holdout: HoldoutParams = HoldoutParams()

    @field_validator("source")
    @classmethod
    def _known_source(cls, name: str) -> str:
        from expunge.sources import SOURCES

        if name not in SOURCES:
            raise ValueError(f"unknown source; known are {', '.join(sorted(SOURCES))}")
        return name


class ModelParams(Block):
    """An open_clip model: an architecture trained from scratch, or a named one with pretrained weights."""

    name: str | None = None
    pretrained: str | None = None
    embed_dim: int | None = Field(None, ge=1)
    vision_cfg: dict[str, Any] | None = None
    text_cfg: dict[str, Any] | None = None
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @model_validator(mode="after")
    def _one_way(self) -> ModelParams:
        described = all(value is not None for value in (self.embed_dim, self.vision_cfg, self.text_cfg))
        if described == (self.name is not None):
            raise ValueError("give either `name` (with `pretrained`) or `embed_dim`, `vision_cfg` and `text_cfg`")
        return self


class TrainParams(Block):
    """Contrastive training; the gold standard is trained with the same block."""

    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_fraction: Fraction
    betas: tuple[Fraction, Fraction]
    clip_gradient: Positive
    variant_share: Fraction = Field(description="share of the variants drawn each epoch; plain pictures all are")
    canonical_caption: Fraction = Field(description="chance of the canonical caption; else one of the aliases")
    languages: tuple[str, ...]
    templates: tuple[str, ...]
    rotate_degrees: Annotated[float, Field(ge=0)]
    translate: Fraction
    scale: Fraction
    checkpoint_epochs: Count

    @field_validator("templates")
    @classmethod
    def _templates_have_a_slot(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not templates or any("{caption}" not in template and "{class}" not in template for template in templates):
            raise ValueError("each template must contain {caption} or {class}")
        return templates


class EmbedParams(Block):
    """Encoding of the catalog."""

    batch_size: Count = 256


class IndexParams(Block):
    """`Flat` is exact, which an audit of deletions needs; other factory strings are for serving."""

    factory: str = "Flat"


class SelectParams(Block):
    """How many retained samples guard a release."""

    neighbours: Count = 200
    random: Count = 512


class ZeroShotParams(Block):
    """Prompts of zero-shot classification; each class is the mean of its prompts' embeddings."""

    templates: tuple[str, ...]

    @field_validator("templates")
    @classmethod
    def _templates_have_a_slot(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not templates or any("{class}" not in template for template in templates):
            raise ValueError("each template must contain {class}")
        return templates


class RelearnParams(Block):
    """Fine-tuning on the forget set until half of the original accuracy is back."""

    max_steps: Count = 40
    shot_steps: Count = 10
    learning_rate: Positive = 1e-4


class EvaluateParams(Block):
    """What is asked of every model."""

    zero_shot: ZeroShotParams
    relearn: RelearnParams = RelearnParams()


class GateParams(Block):
    """What a release must meet before it may become `candidate`.

    `max_gap_*` compare with the gold standard, or with its estimate where no gold model was trained. Where forgotten
    pairs end below the gold standard, `standard_errors` of the difference are put down to chance.
    """

    max_excess_forget_recall: Fraction
    max_gap_forget_similarity: Fraction
    max_gap_neighbour_recall: Fraction
    max_gap_neighbour_similarity: Fraction
    max_drop_retain_recall: Fraction
    max_drop_test_similarity: Fraction
    max_gap_mia_auc: Fraction
    standard_errors: Annotated[float, Field(ge=0)] = 2.0


class UnlearnParams(Block):
    """Hyper-parameters of every method; each method validates its own block (`expunge.unlearning`)."""

    methods: dict[str, dict[str, Any]]

    @model_validator(mode="after")
    def _known_methods(self) -> UnlearnParams:
        from expunge.unlearning import registry

        for name, values in self.methods.items():
            registry.parameters(name, values)
        return self


class ReleaseParams(Block):
    """Defaults of a new release; each release freezes its own in `releases/R/release.yaml`."""

    method: str
    gold: bool = True

    @field_validator("method")
    @classmethod
    def _known_method(cls, name: str) -> str:
        from expunge.unlearning import registry

        if name not in registry.METHODS:
            raise ValueError(f"unknown method; known are {', '.join(registry.METHODS)}")
        return name


class LedgerParams(Block):
    """Where deletion requests are kept: an SQLAlchemy URL, and the events a new ledger starts from."""

    url: str = "sqlite:///data/ledger.db"
    seed: str | None = "requests/seed.jsonl"
    drop_folder: str = "data/requests"
    warn_days: Annotated[int, Field(ge=0)] = 7


class MlflowParams(Block):
    """Names in MLflow; `MLFLOW_TRACKING_URI` in the environment overrides `tracking_uri`."""

    tracking_uri: str = "sqlite:///mlflow.db"
    experiment: str = "expunge"
    registered_model: str = "clip"


class CertificateParams(Block):
    """Who signs certificates. In `production` mode no key is ever made by itself.

    The private key is read from the environment variable EXPUNGE_SIGNING_KEY where that is set, else from its file.
    """

    mode: Literal["demo", "production"] = "demo"
    private_key: str = ".expunge/keys/certificate.pem"
    public_key: str = ".expunge/keys/certificate.pub"


class Params(Block):
    """All of `params.yaml`."""

    seed: Annotated[int, Field(ge=0)] = 0
    compute: ComputeParams = ComputeParams()
    catalog: CatalogParams = CatalogParams()
    model: ModelParams
    train: TrainParams
    embed: EmbedParams = EmbedParams()
    index: IndexParams = IndexParams()
    select: SelectParams = SelectParams()
    unlearn: UnlearnParams
    evaluate: EvaluateParams
    gate: GateParams
    release: ReleaseParams
    ledger: LedgerParams = LedgerParams()
    mlflow: MlflowParams = MlflowParams()
    certificate: CertificateParams = CertificateParams()

    @model_validator(mode="after")
    def _default_method_has_parameters(self) -> Params:
        if self.release.method not in self.unlearn.methods:
            raise ValueError(f"release.method {self.release.method!r} has no block in unlearn.methods")
        return self


def validated(model: type[Model], path: Path) -> Model:
    """Read a YAML file into `model`.

    Raises:
        ExpungeError: the file is missing, is not YAML, or breaks the schema; the message names each offending key
            and what is allowed there.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExpungeError(f"{path} is missing; run this command in the project's folder.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        raise ExpungeError(f"{path} is not valid YAML{place}: {getattr(error, 'problem', error)}.") from None
    if not isinstance(content, dict):
        raise ExpungeError(f"{path} must be a mapping of settings, not {type(content).__name__}.")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ExpungeError(f"{path}: {explain(error)}") from None


def explain(error: ValidationError, values: bool = True) -> str:
    """One clause a mistake: the key, what is wrong, and what was given, unless `values` must not be shown."""
    clauses = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "(top level)"
        problem = item["msg"].removeprefix("Value error, ")
        problem = problem[:1].lower() + problem[1:]
        given = (
            "" if not values or item["type"] in ("missing", "extra_forbidden") else f" (given: {item['input']!r:.80})"
        )
        clauses.append(f"{key}: {problem}{given}")
    return "; ".join(clauses) + "."


def load_params(path: Path = Path("params.yaml")) -> Params:
    """The validated settings of this project."""
    return validated(Params, path)
