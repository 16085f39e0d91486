"""Makes `import torchvision` quick, and work where a CUDA build of it sits beside a CPU build of torch.

Package registries serve torchvision built for CUDA; beside a CPU torch its import fails with "operator
torchvision::nms does not exist", because the compiled operators cannot be loaded (pytorch/vision#8985). open_clip
imports torchvision but uses only its Python transforms, so declaring the two missing schemas is enough. Where
torchvision is whole, nothing is declared. Detection operators stay unavailable.

One of these operators asks torch's compiler a question whenever it runs, and so the whole compiler is imported with
torchvision: a third of the time that importing open_clip takes. Here it is imported when the operator runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

COMPILER = ("torch._dynamo", "torch._dynamo.utils")

_library: torch.library.Library | None = None


def ensure() -> None:
    """Import torchvision, declaring `nms` and `qnms` first if (and only if) their absence breaks the import."""
    with _compiler_later():
        _ensure()


def _ensure() -> None:
    global _library
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


@contextmanager
def _compiler_later() -> Iterator[None]:
    """Inside the block what torchvision imports of torch's compiler is a stand-in that imports it when it is called."""
    package, utils = (ModuleType(name) for name in COMPILER)
    if package.__name__ in sys.modules:
        yield
        return

    def is_compile_supported(device_type: str) -> bool:
        from torch._dynamo.utils import is_compile_supported as answer

        return answer(device_type)

    utils.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
    sys.modules |= {package.__name__: package, utils.__name__: utils}
    try:
        yield
    finally:
        for name in COMPILER:
            del sys.modules[name]


def mended() -> bool:
    """Whether `ensure` had to declare the operators."""
    return _library is not None
