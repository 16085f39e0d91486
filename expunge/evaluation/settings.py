"""Settings of the evaluation and its gate."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from expunge.project.schema import Block, Count, Fraction, Positive


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
    pairs end below the gold standard, `standard_errors` of the difference are put down to chance. The defaults are the
    limits that the library ships: a certificate names every limit that is looser.
    """

    max_excess_forget_recall: Fraction = 0.05
    max_gap_forget_similarity: Fraction = 0.05
    max_gap_neighbour_recall: Fraction = 0.10
    max_gap_neighbour_similarity: Fraction = 0.05
    max_drop_retain_recall: Fraction = 0.05
    max_drop_test_similarity: Fraction = 0.05
    max_gap_mia_auc: Fraction = 0.15
    standard_errors: Annotated[float, Field(ge=0)] = 2.0
