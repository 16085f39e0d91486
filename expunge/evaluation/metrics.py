"""The schema of `reports/R/metrics.json`: one of `base`, one of every other release.

A metric that could not be computed (no trained pair in the forget set, no gold standard) is left out or null. A new
metric is a new field here, and `docs/schemas/` follows by `python -m expunge.proof.schemas`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Literal

from pydantic import Field

from expunge.project.documents import parsed, read_document
from expunge.project.files import read_json
from expunge.project.schema import Block, Fraction

ModelName = Literal["original", "unlearned", "retrained"]
GroupName = Literal["forget", "neighbours", "retain", "test"]
Diagnosis = Literal["effective", "ineffective", "over-generalised", "catastrophic"]


class SetFigures(Block):
    """The metrics of one set of pairs under one model; ranks are against the full gallery of the catalog.

    Attributes:
        count: number of pairs.
        zero_shot_top1: share of pictures whose class is named right.
        image_to_text_r1, …: recall at 1, 5 and 10 in both directions.
        pair_similarity: mean cosine of the pairs, and its standard deviation over pairs.
    """

    count: int = Field(ge=0)
    zero_shot_top1: Fraction
    image_to_text_r1: Fraction
    image_to_text_r5: Fraction
    image_to_text_r10: Fraction
    text_to_image_r1: Fraction
    text_to_image_r5: Fraction
    text_to_image_r10: Fraction
    pair_similarity: float
    pair_similarity_sd: float


class ModelFigures(Block):
    """The block `M`: all that was asked of one model of a release.

    Attributes:
        mia_auc: AUC of the membership attack on the forgotten training pairs; 0.5 is guessing.
        relearn_steps: steps of fine-tuning until half of the original recall is back.
    """

    forget: SetFigures
    neighbours: SetFigures
    retain: SetFigures
    test: SetFigures
    mia_auc: Fraction | None = None
    relearn_steps: int | None = None

    @property
    def groups(self) -> dict[str, SetFigures]:
        """The sets by their names, in the order in which tables show them."""
        return _sets_of(self)


class BaseFigures(Block):
    """The block `M` of the base model: its own training and held-out pairs; a set without pairs is left out."""

    train_plain: SetFigures | None = None
    train_variants: SetFigures | None = None
    calibration: SetFigures | None = None
    test_concepts: SetFigures | None = None
    test_variants: SetFigures | None = None
    test: SetFigures | None = None
    mia_auc: Fraction | None = None

    @property
    def groups(self) -> dict[str, SetFigures]:
        """The sets that have pairs by their names, in the order in which tables show them."""
        return _sets_of(self)


class ComparedModels(Block):
    """The parent's model, the release's, and the gold standard's, which is null where none was trained."""

    original: ModelFigures
    unlearned: ModelFigures
    retrained: ModelFigures | None

    @property
    def there(self) -> dict[str, ModelFigures]:
        """The models that there are by their names."""
        found = {"original": self.original, "unlearned": self.unlearned, "retrained": self.retrained}
        return {name: figures for name, figures in found.items() if figures is not None}


class RequestFigures(Block):
    """The forget figures of one request of the batch; `count` is the number of its pairs."""

    count: int = Field(ge=0)
    original: SetFigures
    unlearned: SetFigures
    retrained: SetFigures | None

    @property
    def there(self) -> dict[str, SetFigures]:
        """The figures by the models that there are."""
        found = {"original": self.original, "unlearned": self.unlearned, "retrained": self.retrained}
        return {name: figures for name, figures in found.items() if figures is not None}


class Threshold(Block):
    """One condition of the gate, met where `value`, a gap in spreads, does not exceed `limit`.

    Attributes:
        measured, reference: the figure of the release, and the mean of what it was compared with.
        beyond: share of retrainings that would lie further out, were the figure normally distributed.
    """

    name: str
    passed: bool
    value: float
    limit: float
    meaning: str
    measured: float | None = None
    reference: float | None = None
    beyond: Fraction | None = None

    @property
    def gap(self) -> float | None:
        """The gap in spreads with its sign, also where it lies on the side that does not count; None where the file
        does not tell. Its size follows from `beyond`, whose definition it is."""
        if self.measured is None or self.reference is None or self.beyond is None:
            return None
        size = -NormalDist().inv_cdf(self.beyond / 2) if self.beyond > 0 else self.value
        return math.copysign(size, self.measured - self.reference)


class GateResult(Block):
    """The gate's verdict; `reference` says whether a gold standard or an estimate was compared with, `retrainings` how
    many models that is, `stand_ins` how many text towers joined it, and `effective_captions` how many captions the
    forgotten pairs hang on: under "" all of them, and by request id."""

    passed: bool
    reference: Literal["gold", "estimate"]
    retrainings: int = 1
    stand_ins: int = 0
    effective_captions: dict[str, float] = Field(default_factory=dict)
    checks: tuple[Threshold, ...]

    @property
    def failed(self) -> list[Threshold]:
        """The conditions that were not met."""
        return [check for check in self.checks if not check.passed]


class Traces(Block):
    """What the text tower itself tells of the forgotten words; null where there are too few of them.

    Attributes:
        row_shift: mean norm of their rows, in standard deviations about that of never-trained tokens.
        rows: number of those rows.
        heap, heap_error: mean cosine among them less that among never-trained words, and its standard error.
    """

    row_shift: float | None
    rows: int
    heap: float | None
    heap_error: float | None


class Attempt(Block):
    """One rung of a release's ladder of methods; the last one is judged by the gate of the release itself."""

    method: str
    passed: bool | None = None
    diagnosis: Diagnosis | None = None
    failed: tuple[str, ...] = ()


class ReleaseCost(Block):
    """Seconds and memory of the steps; `retrain_seconds` is null where no gold standard was trained."""

    unlearn_seconds: float
    retrain_seconds: float | None
    embed_seconds: float
    peak_memory_mb: float
    parameters_changed: int


class BaseCost(Block):
    """Seconds and memory of the base model's steps."""

    train_seconds: float
    embed_seconds: float
    peak_memory_mb: float


class BaseMetrics(Block):
    """The content of `reports/base/metrics.json`."""

    release: str
    model: BaseFigures
    cost: BaseCost


class ReleaseMetrics(Block):
    """The content of `reports/R/metrics.json`.

    Attributes:
        requests: ids of the requests that the release serves.
        per_request: request id → its forget figures.
        traces: model → what its text tower tells.
        expected_similarity: mean cosine that the forgotten pairs are estimated to have had they never been seen.
        attempts: the methods that were tried, where the release names several.
    """

    release: str
    parent: str
    requests: tuple[str, ...]
    method: str
    models: ComparedModels
    per_request: dict[str, RequestFigures]
    traces: dict[ModelName, Traces] = Field(default_factory=dict)
    expected_similarity: float
    cost: ReleaseCost
    gate: GateResult
    diagnosis: Diagnosis
    attempts: tuple[Attempt, ...] = ()

    @property
    def refused_attempts(self) -> tuple[Attempt, ...]:
        """What was tried before the method that made the model."""
        return self.attempts[:-1]


Metrics = BaseMetrics | ReleaseMetrics


def read_metrics(path: Path) -> Metrics:
    """The metrics of a release or of `base`.

    Raises:
        ExpungeError: the file is missing, is not JSON, or breaks the schema.
    """
    content = read_json(path)
    is_base = isinstance(content, Mapping) and "model" in content
    return parsed(BaseMetrics, content, path) if is_base else parsed(ReleaseMetrics, content, path)


def read_release_metrics(path: Path) -> ReleaseMetrics:
    """The metrics of a release other than `base`.

    Raises:
        ExpungeError: as `read_metrics`.
    """
    return read_document(ReleaseMetrics, path)


def _sets_of(figures: ModelFigures | BaseFigures) -> dict[str, SetFigures]:
    found = ((name, getattr(figures, name)) for name in type(figures).model_fields)
    return {name: value for name, value in found if isinstance(value, SetFigures)}
