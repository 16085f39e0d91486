"""Settings of unlearning: the block of params.yaml, and what every method that descends has in common.

A method's own hyper-parameters stand beside its loss, in its file under `methods/`, which needs torch; this file does
not, so that reading params.yaml stays quick.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from expunge.project.schema import Block

Weight = Annotated[float, Field(ge=0)]


class UnlearnParams(Block):
    """Hyper-parameters of every method; each method validates its own block when it is used."""

    methods: dict[str, dict[str, Any]]


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


class NoParams(Block):
    """A method without hyper-parameters of its own."""
