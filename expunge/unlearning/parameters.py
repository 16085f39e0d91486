"""Hyper-parameters of the unlearning methods; free of torch, so that reading params.yaml stays quick."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from expunge.config import Block

Weight = Annotated[float, Field(ge=0)]


class WeightsParams(Block):
    """Which weights a method may change, whatever its loss.

    `last_blocks` are the last `blocks` blocks of both towers with what follows them; `projections` only the last
    linear maps into the joint space; `lora` learns low-rank updates of all matrices and merges them at the end.
    `saliency` keeps, of the chosen weights, the share with the largest gradient of the forget pairs' loss (SalUn).
    """

    choice: Literal["all", "image", "text", "last_blocks", "projections", "lora"] = "all"
    blocks: Annotated[int, Field(ge=1)] = 1
    rank: Annotated[int, Field(ge=1)] = 8
    saliency: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _masks_are_for_weights(self) -> WeightsParams:
        if self.choice == "lora" and self.saliency < 1:
            raise ValueError("saliency masks single weights, and `lora` changes none; set saliency to 1")
        return self


class LoopParams(Block):
    """What the loop needs, whatever the method."""

    steps: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    forget_batch: Annotated[int, Field(ge=1)] = 64
    retain_batch: Annotated[int, Field(ge=2)] = 128
    neighbour_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    remaining_batch: Annotated[int, Field(ge=0)] = 0
    weights: WeightsParams = WeightsParams()


class ClipEraseParams(LoopParams):
    """Weights of CLIPErase's three modules; the paper uses retention 1, forgetting 3, consistency 3."""

    forgetting_loss: Literal["dot", "neg_ce"] = "dot"
    retention_weight: Weight = 1.0
    forgetting_weight: Weight = 3.0
    consistency_weight: Weight = 3.0


class SsdParams(Block):
    """Weights that matter `alpha` times as much to forgotten pairs shrink; `strength` is the paper's λ."""

    alpha: Annotated[float, Field(gt=0)] = 10.0
    strength: Annotated[float, Field(gt=0)] = 1.0


class DampeningParams(SsdParams):
    """Ahead of a descent; the Fisher information is that of `pairs` pairs of each kind at most."""

    alpha: Annotated[float, Field(gt=0)] = 30.0
    pairs: Annotated[int, Field(ge=1)] = 1024


class CalibratedParams(LoopParams):
    """Weights of the calibrated variant; `dampening: null` leaves out what comes before the descent."""

    retention_weight: Weight = 1.0
    forgetting_weight: Weight = 60.0
    consistency_weight: Weight = 3.0
    anchor_weight: Weight = 60.0
    dampening: DampeningParams | None = DampeningParams()


class GradDiffParams(LoopParams):
    """Weights of the two contrastive losses."""

    retain_weight: Weight = 1.0
    forget_weight: Weight = 1.0


class MultiDeleteParams(LoopParams):
    """Weights of the three terms."""

    decoupling_weight: Weight = 1.0
    multimodal_weight: Weight = 1.0
    unimodal_weight: Weight = 1.0


class GsLoraParams(LoopParams):
    """Weights of forgetting and of group sparsity; the forgotten pairs' loss is raised to `forgetting_bound` nats."""

    weights: WeightsParams = WeightsParams(choice="lora")
    forgetting_weight: Weight = 1.0
    forgetting_bound: Annotated[float, Field(gt=0)] = 10.0
    sparsity_weight: Weight = 0.0001

    @field_validator("weights")
    @classmethod
    def _updates_are_low_rank(cls, weights: WeightsParams) -> WeightsParams:
        if weights.choice != "lora":
            raise ValueError("gs_lora changes low-rank updates only; set weights.choice to `lora`")
        return weights


class TaskVectorParams(LoopParams):
    """How far to walk back from the model that was fine-tuned on the forget set."""

    scale: Weight = 1.0


class SlugParams(Block):
    """The line search: it stops at `target_recall` of the forgotten pictures, after `evaluations` at most."""

    batch: Annotated[int, Field(ge=2)] = 128
    evaluations: Annotated[int, Field(ge=1)] = 10
    target_recall: Annotated[float, Field(ge=0, le=1)] = 0.0


class NullSpaceParams(Block):
    """`retain_weight` 0 is the plain projection, which uses `energy`; above 0 retained texts count, with `ridge`."""

    strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    retain_weight: Weight = 0.0
    energy: Annotated[float, Field(gt=0, le=1)] = 0.9
    ridge: Annotated[float, Field(gt=0)] = 1e-4


class TextProjectionParams(Block):
    """Weights of the three lengths, and the optimisation of the low-rank update."""

    forgetting_weight: Weight = 1.2
    retention_weight: Weight = 0.3
    size_weight: Weight = 1.0
    rank: Annotated[int, Field(ge=1)] = 5
    steps: Annotated[int, Field(ge=1)] = 300
    learning_rate: Annotated[float, Field(gt=0)] = 0.01


class NoParams(Block):
    """A method without hyper-parameters of its own."""


class NegGradPlusParams(LoopParams):
    """Share of the retained pairs' loss; the forgotten pairs' has the rest."""

    retain_share: Annotated[float, Field(ge=0, le=1)] = 0.95


class RandomLabelsParams(LoopParams):
    """Weights of the retained pairs' loss and of the wrong partners."""

    retain_weight: Weight = 1.0
    forget_weight: Weight = 1.0


class SalUnParams(RandomLabelsParams):
    """Random labels for the half of the weights with the largest gradient of the forgotten pairs' loss."""

    weights: WeightsParams = WeightsParams(saliency=0.5)


class BadTeacherParams(LoopParams):
    """Weights of the good teacher (retained pairs) and of the bad one (forgotten pairs)."""

    retain_weight: Weight = 1.0
    forget_weight: Weight = 1.0


class ScrubParams(LoopParams):
    """Max phases of `phase_steps` steps take turns with min phases during the first `max_share` of the run."""

    retain_weight: Weight = 1.0
    consistency_weight: Weight = 0.5
    temperature: Annotated[float, Field(gt=0)] = 2.0
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    phase_steps: Annotated[int, Field(ge=1)] = 2


class NpoParams(LoopParams):
    """A larger `beta` lets go of a pair sooner; towards 0 it is gradient ascent."""

    beta: Annotated[float, Field(gt=0)] = 1.0
    retain_weight: Weight = 1.0
    forget_weight: Weight = 1.0


class L1SparseParams(LoopParams):
    """`alpha` is the penalty of the first step; it falls to 0 in a straight line."""

    alpha: Weight = 1e-5


class LabelAgnosticParams(LoopParams):
    """Weights of extraction on either side and of alignment; `latent` is the width of the autoencoders' code."""

    extraction_weight: Weight = 1.0
    forget_weight: Weight = 1.0
    alignment_weight: Weight = 1.0
    temperature: Annotated[float, Field(gt=0)] = 0.1
    latent: Annotated[int, Field(ge=1)] = 32
