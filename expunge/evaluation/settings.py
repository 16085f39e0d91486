"""Settings of the evaluation and its gate."""

from __future__ import annotations

from pydantic import Field, field_validator

from expunge.project.schema import Block, Count, Positive


class ZeroShotParams(Block):
    """Prompts of zero-shot classification; each class is the mean of its prompts' embeddings."""

    templates: tuple[str, ...] = ("{class}", "a photo of {class}")

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
    benign_steps: Count = 50
    learning_rate: Positive = 1e-4


class EvaluateParams(Block):
    """What is asked of every model."""

    zero_shot: ZeroShotParams = ZeroShotParams()
    relearn: RelearnParams = RelearnParams()


class GateParams(Block):
    """What a release must meet before it may become `candidate`.

    Every gap between the release and retrainings is read in standard deviations of one retraining about others. The
    defaults are what the library ships: a certificate names a limit that is looser.
    """

    spreads: Positive = Field(3.5, description="a figure further from retrainings than this fails")
    stand_ins: Count = Field(3, description="text towers retrained to compare with, where no gold standard is")
    few_captions: Positive = Field(3.0, description="where pairs hang on fewer, stand-ins join the gold standard")
