"""Name → method. A new method is one file with one class, its hyper-parameters, one line here and one block in
params.yaml; the loop, the pipeline, the benchmark and the report then know it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from expunge.config import Block
from expunge.unlearning import parameters as p

if TYPE_CHECKING:
    from expunge.unlearning.method import Method


class Entry(NamedTuple):
    """Where a method's class is (imported on first use, because it needs torch) and its hyper-parameters.

    `retrain` has no class: it is exact and does not descend, so the loop hands it to `Task.from_scratch`.
    """

    location: str | None
    parameters: type[Block]


METHODS: dict[str, Entry] = {
    "cliperase": Entry("cliperase:ClipErase", p.ClipEraseParams),
    "cliperase_calibrated": Entry("cliperase_calibrated:CalibratedClipErase", p.CalibratedParams),
    "grad_diff": Entry("grad_diff:GradDiff", p.GradDiffParams),
    "finetune": Entry("finetune:FineTune", p.LoopParams),
    "multidelete": Entry("multidelete:MultiDelete", p.MultiDeleteParams),
    "munba": Entry("munba:Munba", p.LoopParams),
    "gs_lora": Entry("gs_lora:GsLora", p.GsLoraParams),
    "task_vector": Entry("task_vector:TaskVector", p.TaskVectorParams),
    "slug": Entry("slug:Slug", p.SlugParams),
    "null_space": Entry("null_space:NullSpace", p.NullSpaceParams),
    "text_projection": Entry("text_projection:TextProjection", p.TextProjectionParams),
    "retrain": Entry(None, p.NoParams),
    "gradient_ascent": Entry("gradient_ascent:GradientAscent", p.LoopParams),
    "neg_grad_plus": Entry("neg_grad_plus:NegGradPlus", p.NegGradPlusParams),
    "random_labels": Entry("random_labels:RandomLabels", p.RandomLabelsParams),
    "bad_teacher": Entry("bad_teacher:BadTeacher", p.BadTeacherParams),
    "scrub": Entry("scrub:Scrub", p.ScrubParams),
    "npo": Entry("npo:Npo", p.NpoParams),
    "salun": Entry("salun:SalUn", p.SalUnParams),
    "ssd": Entry("ssd:Ssd", p.SsdParams),
    "l1_sparse": Entry("l1_sparse:L1Sparse", p.L1SparseParams),
    "label_agnostic": Entry("label_agnostic:LabelAgnostic", p.LabelAgnosticParams),
}


def parameters(name: str, values: dict[str, Any]) -> Block:
    """Validate the hyper-parameters of method `name`.

    Raises:
        ValueError: there is no such method (the message lists those there are), or pydantic refuses the values.
    """
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; known are {', '.join(METHODS)}")
    return METHODS[name].parameters.model_validate(values)


def method(name: str) -> type[Method] | None:
    """The class of method `name`, which `parameters` has checked; None for retraining."""
    location = METHODS[name].location
    if location is None:
        return None
    module, class_name = location.split(":")
    return getattr(import_module(f"expunge.unlearning.{module}"), class_name)
