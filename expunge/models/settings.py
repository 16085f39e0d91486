"""Settings of models and their training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from expunge.project.schema import Block, Count, Fraction, Positive


class ComputeParams(Block):
    """Where the tensors live, and in which precision they are trained.

    `device: auto` takes a GPU when there is one; bits are reproducible on CPU only. `precision: auto` takes what a
    short measurement on this machine finds faster (`models/precision.py`).
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(default=0, ge=0, description="CPU threads of torch; 0 leaves torch's own choice")
    processes: Count = Field(default=1, description="processes that train together on this machine, by torchrun")
    precision: Literal["auto", "bf16", "fp32"] = "bf16"


class LoadingParams(Block):
    """How pictures are read in training. No stage depends on it, for no bit of a result does."""

    workers: Annotated[int, Field(ge=0, le=128)] = Field(
        0, description="processes that decode and augment ahead; 0: the process that trains does"
    )


class ModelParams(Block):
    """An open_clip model: one that open_clip lists or that lies in a folder, or one described here from scratch.

    `pretrained` is what training begins from: a tag of open_clip, a file or a folder. `tokenizer` is a folder, or a
    repository of the hub, with the files of a tokenizer of transformers, where the architecture has one. Preprocessing
    is the architecture's own unless it is given.
    """

    name: str | None = None
    pretrained: str | None = None
    tokenizer: str | None = None
    embed_dim: int | None = Field(None, ge=1)
    vision_cfg: dict[str, Any] | None = None
    text_cfg: dict[str, Any] | None = None
    further_cfg: dict[str, Any] | None = Field(None, description="custom_text, init_logit_bias, quick_gelu …")
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: Literal["bicubic", "bilinear"] | None = None
    resize_mode: Literal["shortest", "longest", "squash"] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> ModelParams:
        described = all(value is not None for value in (self.embed_dim, self.vision_cfg, self.text_cfg))
        if described == (self.name is not None):
            raise ValueError("give either `name` (with `pretrained`) or `embed_dim`, `vision_cfg` and `text_cfg`")
        return self


class ExternalParams(Block):
    """A model that was trained elsewhere, on the samples of the catalog's split `train`.

    Attributes:
        checkpoint: file or folder with the finished model; its architecture is that of the block `model`.
        trained_on: what it was trained on, to be compared with the catalog: a file of sample ids, one a line, or a SQL
            predicate over the catalog. None takes the catalog's split at its word.
        retrain: command that trains a gold standard and leaves a checkpoint in a folder. In its words {ids} stands for
            a file with the ids to train on, one a line, {out} for the folder, {seed} for the seed. None: there is none.
    """

    checkpoint: str
    trained_on: str | None = None
    retrain: str | None = None

    @field_validator("retrain")
    @classmethod
    def _a_command_has_its_slots(cls, command: str | None) -> str | None:
        if command is not None and not ("{ids}" in command and "{out}" in command):
            raise ValueError("the command must name {ids}, the file of ids, and {out}, the folder for the checkpoint")
        return command


class ShardedParams(Block):
    """Training in slices: how many there are, and how each is trained; batches and captions are the recipe's."""

    shards: Count = 2
    slices: Count = 3
    rank: Count = 8
    epochs: Count = 20
    learning_rate: Positive = 0.003
    public_share: Fraction = Field(0.5, description="of the samples in the backbone; deleting one retrains everything")


class LessonParams(Block):
    """Chosen weights trained alone: large batches and few steps; all else is the recipe's."""

    batch_size: Annotated[int, Field(ge=2)] = 512
    steps: Annotated[int, Field(ge=1)] = 128
    learning_rate: Positive = 0.002


class SmallPictures(Block):
    """The first `share` of all steps see pictures of `size` pixels, which cost less and teach the coarse first."""

    share: Fraction
    size: Annotated[int, Field(ge=8)]


class AugmentationParams(Block):
    """open_clip's augmentation, by its own names (`--aug-cfg`): a crop of `scale` of the picture's area, then the rest.

    With `use_timm` timm makes it, which knows `ratio`, `re_prob` and `re_count` as well; what random erasing fills in
    is rounded to 8 bits.
    """

    scale: tuple[Fraction, Fraction] = (0.9, 1.0)
    ratio: tuple[Positive, Positive] | None = None
    color_jitter: float | tuple[float, float, float] | tuple[float, float, float, float] | None = None
    color_jitter_prob: Fraction | None = None
    gray_scale_prob: Fraction | None = None
    re_prob: Fraction | None = None
    re_count: Count | None = None
    use_timm: bool = False

    @model_validator(mode="after")
    def _nothing_is_passed_over(self) -> AugmentationParams:
        ignored = ["color_jitter_prob", "gray_scale_prob"] if self.use_timm else ["ratio", "re_prob", "re_count"]
        if not self.use_timm:
            jitter = isinstance(self.color_jitter, tuple) and len(self.color_jitter) == 4
            if jitter != bool(self.color_jitter_prob) or (self.color_jitter is not None and not jitter):
                raise ValueError("without use_timm, color_jitter is four numbers and needs color_jitter_prob")
        if idle := [name for name in ignored if getattr(self, name) is not None]:
            raise ValueError(f"with use_timm: {str(self.use_timm).lower()} open_clip does not read {', '.join(idle)}")
        return self


class TrainParams(Block):
    """Contrastive training; the gold standard is trained with the same block.

    With `aug_cfg` pictures are decoded anew each epoch and augmented as open_clip's trainer does; without, they are
    decoded once and turned, shifted and scaled a little where that is asked for. `accum_freq` batches make one step,
    whose loss is that of them all. The defaults take every sample, caption and language alike, and change no picture.

    With `external` no base model is trained here. The recipe then serves the methods that retrain a part of the model,
    and says in which templates captions were seen.
    """

    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_fraction: Fraction
    betas: tuple[Fraction, Fraction]
    clip_gradient: Positive
    variant_share: Fraction = Field(1.0, description="share of the variants drawn each epoch; plain pictures all are")
    canonical_caption: Fraction | None = Field(
        None, description="chance of the first caption, else one of the others; None: each is as likely"
    )
    languages: tuple[str, ...] | None = Field(None, description="of captions after the first; None: all")
    templates: tuple[str, ...] = ("{caption}",)
    rotate_degrees: Annotated[float, Field(ge=0)] = 0.0
    translate: Fraction = 0.0
    scale: Fraction = 0.0
    checkpoint_epochs: Count = 1
    aug_cfg: AugmentationParams | None = None
    accum_freq: Count = 1
    external: ExternalParams | None = None
    sharded: ShardedParams | None = Field(None, description="train in slices, for the method `exact`")
    small_pictures: SmallPictures | None = None
    text_finish: LessonParams | None = Field(
        None, description="steps of the text tower alone at the end, against the finished image embeddings"
    )

    @model_validator(mode="after")
    def _trained_here_or_elsewhere(self) -> TrainParams:
        if self.external is not None and self.sharded is not None:
            raise ValueError("a model that was trained elsewhere (external) is not trained in slices (sharded)")
        return self

    @field_validator("templates")
    @classmethod
    def _templates_have_a_slot(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not templates or any("{caption}" not in template and "{class}" not in template for template in templates):
            raise ValueError("each template must contain {caption} or {class}")
        return templates
